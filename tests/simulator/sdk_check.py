"""Checks that the vendor's Python SDK talks to the simulator unmodified, given only another address.

    python3 -m venv /tmp/larkvenv && /tmp/larkvenv/bin/pip install lark-oapi==1.7.5
    cargo run -p meetlake-simulator --example serve &
    /tmp/larkvenv/bin/python tests/simulator/sdk_check.py http://127.0.0.1:4010

Ends with a status other than 0 at the first mismatch.
"""

import io
import json
import re
import sys
import time
import urllib.request
import zipfile
from datetime import datetime
from zoneinfo import ZoneInfo

import lark_oapi as lark
from lark_oapi.api.application.v6 import ListScopeRequest
from lark_oapi.api.vc.v1 import (
    DownloadExportRequest,
    GetActiveMeetingReserveRequest,
    GetDailyReportRequest,
    GetExportRequest,
    GetMeetingListRequest,
    GetMeetingRecordingRequest,
    GetMeetingRequest,
    GetParticipantListRequest,
    GetParticipantQualityListRequest,
    GetReserveConfigAdminRequest,
    GetReserveConfigDisableInformRequest,
    GetReserveConfigFormRequest,
    GetReserveRequest,
    GetResourceReservationListRequest,
    GetRoomLevelRequest,
    GetScopeConfigRequest,
    GetTopUserReportRequest,
    ListAlertRequest,
    ListByNoMeetingRequest,
    ListRoomLevelRequest,
    ListRoomRequest,
    MeetingListExportRequest,
    MeetingListExportRequestBody,
    MgetRoomRequest,
    MgetRoomRequestBody,
    ParticipantListExportRequest,
    ParticipantListExportRequestBody,
    ParticipantQualityListExportRequest,
    ParticipantQualityListExportRequestBody,
    ReserveScopeReserveConfigRequest,
    ResourceReservationListExportRequest,
    ResourceReservationListExportRequestBody,
)


def expect(condition, what):
    if not condition:
        sys.exit(f"mismatch: {what}")
    print(f"ok: {what}")


def answered(response, what):
    expect(response.success(), f"{what} (code {response.code}, {response.msg})")
    return response


def pages(call, builder, name, what):
    """Walks the pages of a list; gives its items and how many pages there were."""
    items, count, token = [], 0, None
    while count < 90:
        page = call((builder().page_token(token) if token else builder()).build())
        if not page.success():
            sys.exit(f"mismatch: page {count + 1} of {what} (code {page.code}, {page.msg})")
        items += getattr(page.data, name) or []
        count += 1
        if not page.data.has_more:
            if page.data.page_token:
                sys.exit(f"mismatch: the last page of {what} names another one")
            return items, count
        token = page.data.page_token
    sys.exit(f"mismatch: {what} has no end")


def second(text):
    """The instant of `2026.10.12 09:00:00 (GMT+08:00)`."""
    return int(datetime.strptime(text.replace("(GMT", "").rstrip(")"), "%Y.%m.%d %H:%M:%S %z").timestamp())


def export(client, submitted, what):
    """Polls a submitted export until it is done and gives its file."""
    task_id = answered(submitted, f"submit {what}").data.task_id
    expect(re.fullmatch(r"\d{19}", task_id), f"{what}: a task id of 19 digits")
    for _ in range(600):
        state = answered(client.vc.v1.export.get(GetExportRequest.builder().task_id(task_id).build()), f"poll {what}").data
        if state.status != 1:
            break
        time.sleep(0.1)
    expect(state.status == 3, f"{what}: status 3")
    request = DownloadExportRequest.builder().file_token(state.file_token).build()
    download = answered(client.vc.v1.export.download(request), f"download {what}")
    expect(download.file_name.startswith(what) and download.file_name.endswith(".xlsx"), f"{what}: file name {download.file_name}")
    return zipfile.ZipFile(io.BytesIO(download.file.read()))


def rows(workbook):
    return len(re.findall(r"<row ", workbook.read("xl/worksheets/sheet1.xml").decode())) - 1


def check_meetings(client, listed, start, end):
    """The ids of every number of a sheet, their meetings with participants, and the recordings of those that were recorded."""
    parts = [listed.read(name).decode() for name in listed.namelist() if name.endswith(".xml")]
    numbers = sorted({number for part in parts for number in re.findall(r">\s*(\d{9})\s*<", part)})
    expect(numbers, f"meeting_list: {len(numbers)} numbers")
    ids = []
    for number in numbers:
        builder = lambda: ListByNoMeetingRequest.builder().meeting_no(number).start_time(start).end_time(end).page_size(50)
        briefs, _ = pages(client.vc.v1.meeting.list_by_no, builder, "meeting_briefs", f"meetings of {number}")
        if not briefs or any(brief.meeting_no != number for brief in briefs):
            sys.exit(f"mismatch: meetings of {number}")
        ids += [brief.id for brief in briefs]
    expect(len(set(ids)) == rows(listed), f"list_by_no: {len(ids)} ids for the rows of the sheet")
    recorded, documents = 0, 0
    for id in ids[:50]:
        request = GetMeetingRequest.builder().meeting_id(id).with_participants(True).with_meeting_ability(True).user_id_type("open_id").build()
        meeting = client.vc.v1.meeting.get(request)
        if not meeting.success() or meeting.data.meeting.id != id or not meeting.data.meeting.participants:
            sys.exit(f"mismatch: meeting {id} (code {meeting.code}, {meeting.msg})")
        if meeting.data.meeting.note_id:
            left = client.vc.v1.meeting.get(GetMeetingRequest.builder().meeting_id(id).query_mode(1).build())
            if not left.success() or left.data.meeting or not left.data.related_artifacts.note_doc_token:
                sys.exit(f"mismatch: artifacts of {id} (code {left.code}, {left.msg})")
            documents += 1
        if meeting.data.meeting.ability.use_recording:
            recorded += 1
            recording = client.vc.v1.meeting_recording.get(GetMeetingRecordingRequest.builder().meeting_id(id).build())
            if not recording.success() or "/minutes/" not in recording.data.recording.url:
                sys.exit(f"mismatch: recording of {id} (code {recording.code}, {recording.msg})")
    expect(recorded > 0, f"meetings: 50 with participants, {recorded} with a recording")
    expect(documents > 0, f"meetings: {documents} with a document of their notes")
    gone = client.vc.v1.meeting.get(GetMeetingRequest.builder().meeting_id("7000000000000000000").build())
    expect(gone.code == 121004, "an unknown meeting is refused with 121004")
    alerts = lambda size: pages(
        client.vc.v1.alert.list, lambda: ListAlertRequest.builder().start_time(end - 86_400).end_time(end).page_size(size), "items", "alerts"
    )
    (whole, _), (paged, count) = alerts(100), alerts(2)
    expect(whole and [alert.alert_id for alert in whole] == [alert.alert_id for alert in paged], f"alerts: {len(whole)} on {count} pages")
    scopes = answered(client.application.v6.scope.list(ListScopeRequest.builder().build()), "scopes")
    expect(any(scope.scope_name == "vc:export" and scope.grant_status == 1 for scope in scopes.data.scopes), "scopes: vc:export is granted")
    return ids


def check_lists(client, truth, ids, rooms, midnights):
    """The four lists that answer at once have the rows of the sheets, page by page, and what only they tell."""
    start, end = midnights[0], midnights[-1]

    def builder():
        return GetMeetingListRequest.builder().start_time(start).end_time(end).meeting_status(2).page_size(20)

    everything = lambda: builder().include_external_meetings(True).include_webinar(True)
    meetings, count = pages(client.vc.v1.meeting_list.get, everything, "meeting_list", "meeting_list")
    expect(len(meetings) == sum(day["meetings"] for day in truth["days"]), f"meeting_list: {len(meetings)} meetings on {count} pages")
    expect({meeting.meeting_instance_id for meeting in meetings} == set(ids), "meeting_list: the ids that list_by_no gives")
    expect(all(re.fullmatch(r"\d{9}", meeting.meeting_id) for meeting in meetings), "meeting_list: meeting_id is the number")
    flags = ("audio", "video", "sharing", "recording", "telephone", "is_external", "ai_note", "has_related_document")
    expect(all(isinstance(getattr(meeting, flag), bool) for meeting in meetings for flag in flags), "meeting_list: flags are booleans")
    inside, _ = pages(client.vc.v1.meeting_list.get, builder, "meeting_list", "meeting_list of the company's own")
    own = {meeting.meeting_instance_id for meeting in meetings if not meeting.is_external}
    expect({meeting.meeting_instance_id for meeting in inside} == own, f"meeting_list: {len(own)} without external ones unless asked")
    for meeting in meetings[:30]:
        request = GetMeetingRequest.builder().meeting_id(meeting.meeting_instance_id).user_id_type("open_id").build()
        detail = client.vc.v1.meeting.get(request).data.meeting
        told = (meeting.meeting_id, meeting.meeting_topic, second(meeting.meeting_start_time), second(meeting.meeting_end_time), meeting.user_id)
        known = (detail.meeting_no, detail.topic, int(detail.start_time), int(detail.end_time), detail.host_user.id)
        if told != known:
            sys.exit(f"mismatch: {told} in the list, {known} as a meeting")
    print("ok: meeting_list: number, topic, times and host of 30 meetings are those of the meetings themselves")

    # The largest meetings that last less than a day: the window of each is the meeting itself.
    short = [meeting for meeting in meetings if second(meeting.meeting_end_time) - second(meeting.meeting_start_time) < 86_400]
    short.sort(key=lambda meeting: int(meeting.number_of_devices), reverse=True)
    in_rooms, count, people = set(), 0, []
    for meeting in reversed(short[:12]):
        largest, window = meeting, (second(meeting.meeting_start_time), second(meeting.meeting_end_time))
        builder = lambda: (
            GetParticipantListRequest.builder().meeting_start_time(window[0]).meeting_end_time(window[1]).meeting_no(meeting.meeting_id)
            .meeting_status(2).user_id_type("open_id").page_size(20)
        )
        people, more = pages(client.vc.v1.participant_list.get, builder, "participants", "participant_list")
        count += more
        request = GetMeetingRequest.builder().meeting_id(meeting.meeting_instance_id).with_participants(True).user_id_type("open_id").build()
        there = {person.id for person in client.vc.v1.meeting.get(request).data.meeting.participants}
        named = {person.user_id or person.meeting_room_id for person in people} - {""}
        if not named or not named <= there:
            sys.exit(f"mismatch: participants of {meeting.meeting_instance_id} that the meeting does not have: {named - there}")
        if not all(window[0] <= second(person.join_time) <= second(person.leave_time) <= window[1] for person in people):
            sys.exit(f"mismatch: somebody joined or left outside of {meeting.meeting_instance_id}")
        in_rooms |= {person.meeting_room_id for person in people} - {""}
    print(f"ok: participant_list: people of 12 meetings are those of the meetings, on {count} pages")
    expect(in_rooms and in_rooms <= {room.room_id for room in rooms}, f"participant_list: {len(in_rooms)} rooms by their ids")
    expect(all(isinstance(person.is_external, bool) and person.accept_status in (1, 2, 3, 4) for person in people), "participant_list: flags and states")
    body = ParticipantListExportRequestBody.builder().meeting_start_time(window[0]).meeting_end_time(window[1]).meeting_no(largest.meeting_id)
    submitted = client.vc.v1.export.participant_list(ParticipantListExportRequest.builder().request_body(body.meeting_status(2).build()).build())
    expect(len(people) == rows(export(client, submitted, "participant_list")), f"participant_list: {len(people)} rows as the sheet of the largest")

    person = max((person for person in people if person.user_id), key=lambda person: second(person.leave_time) - second(person.join_time))
    joined = second(person.join_time)
    builder = lambda: (
        GetParticipantQualityListRequest.builder().meeting_start_time(window[0]).meeting_end_time(window[1]).meeting_no(largest.meeting_id)
        .join_time(joined).user_id(person.user_id).user_id_type("open_id").page_size(20)
    )
    items, count = pages(client.vc.v1.participant_quality_list.get, builder, "participant_quality_list", "participant_quality_list")
    body = (
        ParticipantQualityListExportRequestBody.builder().meeting_start_time(window[0]).meeting_end_time(window[1])
        .meeting_no(largest.meeting_id).join_time(joined).user_id(person.user_id).build()
    )
    request = ParticipantQualityListExportRequest.builder().user_id_type("open_id").request_body(body).build()
    minutes = rows(export(client, client.vc.v1.export.participant_quality_list(request), "participant_quality_list"))
    times = {second(item.network.time) for item in items if item.network}
    expect(0 < len(times) == minutes, f"participant_quality_list: {len(times)} minutes as the sheet, {count} pages")
    blocks = [block for item in items for block in (item.audio, item.video, item.screen_sharing) if block]
    expect({second(block.time) for block in blocks} == times, "participant_quality_list: sound, picture and sharing of the same minutes")
    expect(sum(item.cpu_usage is not None for item in items) == minutes, "participant_quality_list: the processor in each minute")

    bookings = 0
    for midnight, next_midnight in zip(midnights, midnights[1:]):
        builder = lambda: (
            GetResourceReservationListRequest.builder().room_level_id("0").need_topic(True).start_time(midnight)
            .end_time(next_midnight).room_ids([room.room_id for room in rooms]).is_exclude(False).page_size(20)
        )
        found, _ = pages(client.vc.v1.resource_reservation_list.get, builder, "room_reservation_list", "resource_reservation_list")
        names = {room.room_id: room.name for room in rooms}
        wrong = [booking.room_id for booking in found if names.get(booking.room_id) != booking.room_name]
        if wrong or not all(midnight <= second(booking.event_start_time) < next_midnight for booking in found):
            sys.exit(f"mismatch: resource_reservation_list has bookings of other rooms or days: {wrong}")
        bookings += len(found)
    expect(bookings == sum(day["reservations"] for day in truth["days"]), f"resource_reservation_list: {bookings} bookings of all days")
    body = (
        ResourceReservationListExportRequestBody.builder().room_level_id("0").need_topic(True).start_time(midnights[-2])
        .end_time(midnights[-1]).room_ids([room.room_id for room in rooms]).is_exclude(False).build()
    )
    submitted = client.vc.v1.export.resource_reservation_list(ResourceReservationListExportRequest.builder().request_body(body).build())
    expect(rows(export(client, submitted, "resource_reservation_list")) == len(found), f"resource_reservation_list: {len(found)} rows of the last day in the sheet")
    small = GetMeetingListRequest.builder().start_time(start).end_time(end).page_size(10).build()
    expect(client.vc.v1.meeting_list.get(small).code == 99992402, "a page of 10 is refused with 99992402")


def check_levels(client, rooms):
    """All levels from the root down, and rooms by their ids."""
    root = answered(client.vc.v1.room_level.get(GetRoomLevelRequest.builder().room_level_id("0").build()), "the root of the levels").data.room_level
    levels, waiting = [root], [root]
    while waiting:
        level = waiting.pop()
        builder = lambda: ListRoomLevelRequest.builder().room_level_id(level.room_level_id).page_size(2)
        children, _ = pages(client.vc.v1.room_level.list, builder, "items", f"levels below {level.name}")
        if level.has_child != bool(children) or any(child.parent_id != level.room_level_id for child in children):
            sys.exit(f"mismatch: children of {level.name}")
        levels += children
        waiting += children
    known = {level.room_level_id for level in levels}
    expect(all(room.room_level_id in known for room in rooms), f"room_levels: {len(levels)} levels hold all rooms")
    some = [room.room_id for room in rooms[3:6]]
    body = MgetRoomRequestBody.builder().room_ids(some).build()
    found = answered(client.vc.v1.room.mget(MgetRoomRequest.builder().request_body(body).build()), "rooms by their ids").data.items
    expect({room.room_id for room in found} == set(some), "rooms/mget: the rooms that were asked for")
    return levels


def check_configurations(client, rooms, levels):
    """What is set for each room and level, and how it may be reserved: five calls a node."""
    vc, counts = client.vc.v1, {"materials": 0, "forms": 0, "inherited": 0}
    nodes = [(1, level.room_level_id, None) for level in levels] + [(2, room.room_id, room) for room in rooms]
    for kind, id, room in nodes:
        request = GetScopeConfigRequest.builder().scope_type(kind).scope_id(id).user_id_type("open_id").build()
        config = vc.scope_config.get(request)
        if not config.success() or (config.data.current_config.scope_type, config.data.current_config.scope_id) != (kind, id):
            sys.exit(f"mismatch: configuration of {id} (code {config.code}, {config.msg})")
        values, origins = config.data.current_config.scope_config, config.data.origin_configs
        if room and (values.room_status.status, values.room_status.contact_ids or []) != (room.room_status.status, room.room_status.contact_ids or []):
            sys.exit(f"mismatch: status of {id} as configuration and as room")
        if room and origins[0].scope_id != id:
            sys.exit(f"mismatch: the first origin of {id} is {origins[0].scope_id}")
        # What holds is the nearest origin's that has it.
        for member in ("room_background", "display_background", "digital_signage", "room_box_digital_signage"):
            nearest = next((value for origin in origins if (value := getattr(origin.scope_config, member))), None)
            holds = getattr(values, member)
            bare = lambda value: value.split("?")[0] if isinstance(value, str) else value and (value.enable, value.start_display, value.stop_display)
            if not holds or bare(holds) != bare(nearest):
                sys.exit(f"mismatch: {member} of {id} is not that of its nearest origin")
            counts["inherited"] += not getattr(origins[0].scope_config, member)
        for material in values.digital_signage.materials or []:
            counts["materials"] += 1
            if not (material.size.isdigit() and material.material_type in (1, 2, 3) and re.fullmatch(r"[0-9a-f]{32}", material.md5 or "")):
                sys.exit(f"mismatch: a material of {id}: {lark.JSON.marshal(material)}")

        scope = vc.reserve_config.reserve_scope(ReserveScopeReserveConfigRequest.builder().scope_id(id).scope_type(kind).user_id_type("open_id").build())
        if not scope.success() or not 1 <= scope.data.time_config.days_in_advance <= 730 or int(scope.data.time_config.end_time) != 86_400:
            sys.exit(f"mismatch: limits of {id} (code {scope.code}, {scope.msg})")
        allowed = scope.data.reserve_scope_config
        if allowed.allow_all_users not in (0, 1) or any(not user.user_id.startswith("ou_") for user in allowed.allow_users or []):
            sys.exit(f"mismatch: who may reserve {id}")
        form = vc.reserve_config_form.get(GetReserveConfigFormRequest.builder().reserve_config_id(id).scope_type(kind).build())
        if form.code not in (0, 126002) or (form.success() and not isinstance(form.data.reserve_form_config.reserve_form, bool)):
            sys.exit(f"mismatch: form of {id} (code {form.code}, {form.msg})")
        counts["forms"] += form.success()
        admin = vc.reserve_config_admin.get(GetReserveConfigAdminRequest.builder().reserve_config_id(id).scope_type(kind).user_id_type("open_id").build())
        if not admin.success() or any(not user.user_id.startswith("ou_") for user in admin.data.reserve_admin_config.users or []):
            sys.exit(f"mismatch: administrators of {id} (code {admin.code}, {admin.msg})")
        inform = vc.reserve_config_disable_inform.get(GetReserveConfigDisableInformRequest.builder().reserve_config_id(id).scope_type(kind).build())
        if not inform.success() or not isinstance(inform.data.disable_inform.if_inform, bool):
            sys.exit(f"mismatch: notices of {id} (code {inform.code}, {inform.msg})")
    expect(all(counts.values()) and counts["forms"] < len(nodes), f"scope_config and reserve_configs: {len(nodes)} nodes, {counts}")
    wrong = ReserveScopeReserveConfigRequest.builder().scope_id(rooms[0].room_id).scope_type(1).build()
    expect(vc.reserve_config.reserve_scope(wrong).code == 126001, "a room is no level: 126001")
    gone = vc.scope_config.get(GetScopeConfigRequest.builder().scope_type(2).scope_id("omm_0").build())
    expect(gone.code == 121004, "the configuration of an unknown room is refused with 121004")


def check_reserves(client, truth):
    """The reservations that were made through the API; by one of them a meeting is held."""
    held = 0
    for id in truth["reserves"]:
        found = answered(client.vc.v1.reserve.get(GetReserveRequest.builder().reserve_id(id).user_id_type("open_id").build()), f"reserve {id}")
        reserve = found.data.reserve
        fits = reserve.id == id and re.fullmatch(r"\d{9}", reserve.meeting_no) and reserve.expire_status in (1, 2)
        if not fits or not reserve.meeting_settings.topic or not reserve.reserve_user_id.startswith("ou_") or not reserve.password:
            sys.exit(f"mismatch: reserve {id}")
        request = GetActiveMeetingReserveRequest.builder().reserve_id(id).with_participants(True).user_id_type("open_id").build()
        active = client.vc.v1.reserve.get_active_meeting(request)
        if active.success():
            held += 1
            meeting = active.data.meeting
            expect((meeting.meeting_no, meeting.topic, meeting.status) == (reserve.meeting_no, reserve.meeting_settings.topic, 2), "its meeting is under way")
            expect(meeting.participants and meeting.host_user.id in {person.id for person in meeting.participants}, "its host takes part")
        elif active.code != 121004:
            sys.exit(f"mismatch: active meeting of {id} (code {active.code}, {active.msg})")
    expect(held == 1, f"reserves: {len(truth['reserves'])}, one with a meeting under way")
    gone = client.vc.v1.reserve.get(GetReserveRequest.builder().reserve_id("6900000000000000001").build())
    expect(gone.code == 121004, "an unknown reserve is refused with 121004")


def main(base_url):
    truth = json.load(urllib.request.urlopen(f"{base_url}/_simulator/company"))
    zone = ZoneInfo(truth["time_zone"])
    midnight = lambda date: int(datetime.fromisoformat(date).replace(tzinfo=zone).timestamp())
    start, end = midnight(truth["first_day"]), midnight(truth["last_day"]) + 86_400
    meetings = sum(day["meetings"] for day in truth["days"])

    client = lark.Client.builder().app_id("cli_a000000000000001").app_secret("simulator-secret").domain(base_url).build()

    body = MeetingListExportRequestBody.builder().start_time(start).end_time(end).build()
    submitted = client.vc.v1.export.meeting_list(MeetingListExportRequest.builder().user_id_type("open_id").request_body(body).build())
    listed = export(client, submitted, "meeting_list")
    expect(rows(listed) == meetings, f"meeting_list: {meetings} rows")
    ids = check_meetings(client, listed, start, end)

    body = ParticipantListExportRequestBody.builder().meeting_start_time(start).meeting_end_time(start + 3_600).meeting_no("123456789").build()
    submitted = client.vc.v1.export.participant_list(ParticipantListExportRequest.builder().request_body(body).build())
    expect(rows(export(client, submitted, "participant_list")) == 0, "participant_list: an unknown number gives a header only")

    daily = answered(client.vc.v1.report.get_daily(GetDailyReportRequest.builder().start_time(start).end_time(end).build()), "get_daily")
    expect(daily.data.meeting_report.total_meeting_count == str(meetings), "get_daily: the same meetings")

    request = GetTopUserReportRequest.builder().start_time(start).end_time(end).limit(10).order_by(2).build()
    top = answered(client.vc.v1.report.get_top_user(request), "get_top_user")
    expect(len(top.data.top_user_report) == 10, "get_top_user: ten users")

    rooms, _ = pages(client.vc.v1.room.list, lambda: ListRoomRequest.builder().page_size(7), "rooms", "rooms")
    expect(len({room.room_id for room in rooms}) == truth["rooms"], f"rooms: {truth['rooms']} in pages")
    levels = answered(client.vc.v1.room_level.list(ListRoomLevelRequest.builder().page_size(50).build()), "room_levels")
    expect(len(levels.data.items) == 3 and all(level.has_child is not None for level in levels.data.items), "room_levels: three cities")
    check_lists(client, truth, ids, rooms, [midnight(day["date"]) for day in truth["days"]] + [end])
    check_configurations(client, rooms, check_levels(client, rooms))
    check_reserves(client, truth)

    wrong = MeetingListExportRequestBody.builder().start_time(end).end_time(start).build()
    refused = client.vc.v1.export.meeting_list(MeetingListExportRequest.builder().request_body(wrong).build())
    expect(refused.code == 121003 and refused.get_log_id(), "a reversed window is refused with 121003 and a log id")

    stranger = lark.Client.builder().app_id("cli_a000000000000001").app_secret("wrong").domain(base_url).build()
    try:
        stranger.vc.v1.room.list(ListRoomRequest.builder().build())
        expect(False, "a wrong secret is refused")
    except lark.exception.ObtainAccessTokenException as error:
        expect(error.code == 10015, "a wrong secret is refused with 10015")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"))

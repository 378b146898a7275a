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
    GetDailyReportRequest,
    GetExportRequest,
    GetMeetingRecordingRequest,
    GetMeetingRequest,
    GetTopUserReportRequest,
    ListAlertRequest,
    ListByNoMeetingRequest,
    ListRoomLevelRequest,
    ListRoomRequest,
    MeetingListExportRequest,
    MeetingListExportRequestBody,
    ParticipantListExportRequest,
    ParticipantListExportRequestBody,
)


def expect(condition, what):
    if not condition:
        sys.exit(f"mismatch: {what}")
    print(f"ok: {what}")


def answered(response, what):
    expect(response.success(), f"{what} (code {response.code}, {response.msg})")
    return response


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
        request = ListByNoMeetingRequest.builder().meeting_no(number).start_time(start).end_time(end).page_size(50).build()
        found = client.vc.v1.meeting.list_by_no(request)
        if not found.success() or not found.data.meeting_briefs:
            sys.exit(f"mismatch: meetings of {number} (code {found.code}, {found.msg})")
        ids += [brief.id for brief in found.data.meeting_briefs]
    expect(len(set(ids)) == rows(listed), f"list_by_no: {len(ids)} ids for the rows of the sheet")
    recorded = 0
    for id in ids[:50]:
        request = GetMeetingRequest.builder().meeting_id(id).with_participants(True).with_meeting_ability(True).user_id_type("open_id").build()
        meeting = client.vc.v1.meeting.get(request)
        if not meeting.success() or meeting.data.meeting.id != id or not meeting.data.meeting.participants:
            sys.exit(f"mismatch: meeting {id} (code {meeting.code}, {meeting.msg})")
        if meeting.data.meeting.ability.use_recording:
            recorded += 1
            recording = client.vc.v1.meeting_recording.get(GetMeetingRecordingRequest.builder().meeting_id(id).build())
            if not recording.success() or "/minutes/" not in recording.data.recording.url:
                sys.exit(f"mismatch: recording of {id} (code {recording.code}, {recording.msg})")
    expect(recorded > 0, f"meetings: 50 with participants, {recorded} with a recording")
    gone = client.vc.v1.meeting.get(GetMeetingRequest.builder().meeting_id("7000000000000000000").build())
    expect(gone.code == 121004, "an unknown meeting is refused with 121004")
    alerts = answered(client.vc.v1.alert.list(ListAlertRequest.builder().start_time(end - 86_400).end_time(end).page_size(100).build()), "alerts")
    expect(alerts.data.items and alerts.data.items[0].alert_id, f"alerts: {len(alerts.data.items)} on a page")
    scopes = answered(client.application.v6.scope.list(ListScopeRequest.builder().build()), "scopes")
    expect(any(scope.scope_name == "vc:export" and scope.grant_status == 1 for scope in scopes.data.scopes), "scopes: vc:export is granted")


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
    check_meetings(client, listed, start, end)

    body = ParticipantListExportRequestBody.builder().meeting_start_time(start).meeting_end_time(start + 3_600).meeting_no("123456789").build()
    submitted = client.vc.v1.export.participant_list(ParticipantListExportRequest.builder().request_body(body).build())
    expect(rows(export(client, submitted, "participant_list")) == 0, "participant_list: an unknown number gives a header only")

    daily = answered(client.vc.v1.report.get_daily(GetDailyReportRequest.builder().start_time(start).end_time(end).build()), "get_daily")
    expect(daily.data.meeting_report.total_meeting_count == str(meetings), "get_daily: the same meetings")

    request = GetTopUserReportRequest.builder().start_time(start).end_time(end).limit(10).order_by(2).build()
    top = answered(client.vc.v1.report.get_top_user(request), "get_top_user")
    expect(len(top.data.top_user_report) == 10, "get_top_user: ten users")

    rooms, token = [], None
    while True:
        builder = ListRoomRequest.builder().page_size(7)
        page = answered(client.vc.v1.room.list((builder.page_token(token) if token else builder).build()), "rooms")
        rooms += page.data.rooms
        if not page.data.has_more:
            break
        token = page.data.page_token
    expect(len({room.room_id for room in rooms}) == truth["rooms"], f"rooms: {truth['rooms']} in pages")

    levels = answered(client.vc.v1.room_level.list(ListRoomLevelRequest.builder().page_size(50).build()), "room_levels")
    expect(len(levels.data.items) == 3 and all(level.has_child is not None for level in levels.data.items), "room_levels: three cities")

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

//! Rooms and levels as the material of daily snapshots: every form, many pages, another order,
//! another day.

use std::collections::HashSet;
use std::time::Duration;

use jiff::ToSpan;
use meetlake_simulator::company::{Company, DisableEnd, Employee, Room};
use meetlake_simulator::{Options, Server};
use serde_json::{Value, json};

use crate::app::{Answer, App, fast, with_faults, with_knobs};

const ROOMS: &str = "/open-apis/vc/v1/rooms?page_size=100";
const LEVELS: &str = "/open-apis/vc/v1/room_levels";

/// All pages of `path`, which has a query already.
async fn pages(app: &App, path: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let answer = app.get(&format!("{path}&page_token={token}")).await;
        assert_eq!(answer.code(), 0, "{}", answer.body);
        let data = &answer.body["data"];
        let items = data.get("rooms").unwrap_or(&data["items"]);
        pages.push(items.as_array().unwrap().clone());
        match data["page_token"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => return pages,
        }
    }
}

/// The `field` of all `items`.
fn texts(items: &[Value], field: &str) -> Vec<String> {
    let text = |item: &Value| item[field].as_str().unwrap().to_owned();
    items.iter().map(text).collect()
}

fn ids(pages: &[Vec<Value>]) -> Vec<String> {
    texts(&pages.concat(), "room_id")
}

fn room_ids(rooms: &[std::sync::Arc<Room>]) -> Vec<String> {
    rooms.iter().map(|room| room.room_id.clone()).collect()
}

fn not_found(answer: &Answer) -> bool {
    (answer.status, answer.code()) == (404, 121_004)
}

#[tokio::test]
async fn rooms_are_told_as_the_company_has_them_in_every_kind_of_id() {
    let app = App::start(fast()).await;
    for id_type in ["open_id", "union_id", "user_id"] {
        let id = |employee: &Employee| match id_type {
            "open_id" => employee.open_id.clone(),
            "union_id" => employee.union_id.clone(),
            _ => employee.user_id.clone(),
        };
        let told = pages(&app, &format!("{ROOMS}&user_id_type={id_type}")).await;
        for (told, room) in told.concat().iter().zip(app.server.company().rooms()) {
            let status = &told["room_status"];
            let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
            let contacts: Vec<String> = room.contacts.iter().map(|contact| id(contact)).collect();
            assert_eq!(told["name"], room.name);
            assert_eq!(told["capacity"], room.capacity);
            assert_eq!(told["description"].as_str().unwrap_or(""), room.description);
            assert_eq!(
                told["custom_room_id"].as_str().unwrap_or(""),
                room.custom_room_id
            );
            assert_eq!(status["status"], room.enabled);
            assert_eq!(status["schedule_status"], room.enabled_later);
            assert_eq!(
                status["disable_reason"].as_str().unwrap_or(""),
                room.disable_reason
            );
            assert_eq!(status["disable_notice"], room.notifies_on_disable);
            assert_eq!(status["resume_notice"], room.notifies_on_resume);
            assert_eq!(list(&status["contact_ids"]), contacts);
            let devices: Vec<Value> = list(&told["device"]);
            assert_eq!(texts(&devices, "name"), room.devices);
        }
    }
}

#[tokio::test]
async fn every_form_of_a_room_is_there() {
    let app = App::start(fast()).await;
    let rooms = pages(&app, ROOMS).await.concat();
    let status = |index: usize| &rooms[index]["room_status"];
    assert_eq!(
        rooms
            .iter()
            .filter(|room| room["room_status"]["status"] == false)
            .count(),
        2
    );
    // Disabled for ever, as it always was.
    assert_eq!(
        *status(8),
        json!({
            "status": false, "schedule_status": false, "disable_start_time": "1735660800",
            "disable_end_time": "0", "disable_reason": "装修", "contact_ids": [],
            "disable_notice": false, "resume_notice": false,
        })
    );
    // Disabled until a date, and enabled after it.
    assert_eq!(status(14)["status"], false);
    assert_eq!(status(14)["schedule_status"], true);
    assert_eq!(status(14)["disable_end_time"], "4102416000");
    let contacts = status(14)["contact_ids"].as_array().unwrap();
    assert!(contacts.len() == 2 && contacts[0] != contacts[1]);
    assert_eq!(status(14)["resume_notice"], true);
    // Enabled until a date.
    assert_eq!(status(3)["status"], true);
    assert_eq!(status(3)["schedule_status"], false);
    assert_eq!(status(3)["disable_start_time"], "1893427200");
    // Nothing planned, in four ways.
    assert!(status(0).get("disable_end_time").is_none());
    assert_eq!(status(4)["disable_start_time"], "");
    assert_eq!(status(4)["disable_reason"], "");
    assert_eq!(rooms[4]["custom_room_id"], "");
    assert_eq!(status(12)["disable_start_time"], "0");
    assert_eq!(status(12)["disable_end_time"], "0");
    assert!(status(11).get("contact_ids").is_none());
    assert!(rooms[11].get("description").is_none());
    // Devices: two, one, none, `null`.
    let devices = |index: usize| rooms[index]["device"].as_array().map(Vec::len);
    assert_eq!(
        [2, 0, 9, 11].map(devices),
        [Some(2), Some(1), Some(0), None]
    );
}

#[tokio::test]
async fn contacts_by_user_id_need_the_scope() {
    let app = App::start(with_knobs(|knobs| {
        knobs.scopes.remove("contact:user.employee_id:readonly");
    }))
    .await;
    let refused = app.get(&format!("{ROOMS}&user_id_type=user_id")).await;
    assert_eq!((refused.status, refused.code()), (400, 99_991_672));
    assert_eq!(app.get(ROOMS).await.code(), 0);
}

#[tokio::test]
async fn many_rooms_fill_several_pages_and_change_nothing_else() {
    let app = App::start(with_knobs(|knobs| knobs.rooms = Some(250))).await;
    let few = App::start(fast()).await;
    let (company, usual) = (app.server.company(), few.server.company());
    let told = pages(&app, ROOMS).await;
    assert_eq!(
        told.iter().map(Vec::len).collect::<Vec<_>>(),
        [100, 100, 50]
    );
    assert_eq!(ids(&told), room_ids(company.rooms()));
    assert_eq!(ids(&told).into_iter().collect::<HashSet<_>>().len(), 250);
    assert_eq!(company.rooms()[..16], *usual.rooms());
    assert_eq!(
        format!("{:?}", company.meetings()),
        format!("{:?}", usual.meetings())
    );
    assert_eq!(
        format!("{:?}", company.reservations()),
        format!("{:?}", usual.reservations())
    );

    // The levels together have every room once.
    let mut of_levels = 0;
    for level in company.room_levels() {
        let path = format!("{ROOMS}&room_level_id={}", level.room_level_id);
        let found = pages(&app, &path).await.concat().len();
        assert!(found >= 20 || level.name == "F2 (改造中)");
        of_levels += found;
    }
    assert_eq!(of_levels, 250);
}

#[tokio::test]
async fn impossible_numbers_of_rooms_are_refused() {
    for rooms in [0, 15, 100_001] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options: Options = with_knobs(|knobs| knobs.rooms = Some(rooms));
        assert!(Server::start(listener, options).is_err());
    }
}

#[tokio::test]
async fn rooms_that_move_between_two_pages_appear_twice_or_not_at_all() {
    let app = App::start(with_knobs(|knobs| {
        knobs.rooms = Some(250);
        knobs.rooms_move = 2;
    }))
    .await;
    // Listings of one page see nothing and do not count.
    for _ in 0..3 {
        let first = app.get(ROOMS).await.body["data"]["rooms"].clone();
        assert_eq!(first[0]["room_id"], app.server.company().rooms()[0].room_id);
    }
    for is_moving in [true, true, false, false] {
        let told = pages(&app, ROOMS).await;
        let found = ids(&told);
        let different: HashSet<_> = found.iter().collect();
        assert_eq!(
            (found.len(), different.len()),
            (250, 250 - usize::from(is_moving))
        );
        if is_moving {
            assert_eq!(told[0][99], told[1][0]);
        }
        // That is how a client notices.
        let again = app.get(ROOMS).await.body["data"]["rooms"].clone();
        let again = texts(again.as_array().unwrap(), "room_id");
        assert_eq!(again != texts(&told[0], "room_id"), is_moving);
    }
}

#[tokio::test]
async fn rooms_change_from_day_to_day_when_asked() {
    let mut app = App::start(with_knobs(|knobs| knobs.rooms_change = true)).await;
    let mut days = Vec::new();
    for _ in 0..3 {
        // The one of yesterday has expired.
        app.token = app.tenant_token().await;
        let company = app.server.company();
        let clock = &app.server.options().clock;
        let told = pages(&app, ROOMS).await.concat();
        let truth = company.rooms_on(company.date_of(clock.now()));
        assert_eq!(texts(&told, "room_id"), room_ids(&truth));
        let names: Vec<&str> = truth.iter().map(|room| room.name.as_str()).collect();
        assert_eq!(texts(&told, "name"), names);
        days.push(told);
        clock.advance(Duration::from_secs(86_400));
    }
    assert_ne!(days[0] == days[1], days[1] == days[2]);
    let company = app.server.company();
    let first_day = company.rooms_on(company.first_day());
    assert_eq!(first_day[..16], *company.rooms());
}

#[tokio::test]
async fn a_passing_room_can_be_asked_for_while_it_is_there() {
    let app = App::start(with_knobs(|knobs| knobs.rooms_change = true)).await;
    let company = app.server.company();
    let (start, end) = app.window();
    let today = company.date_of(app.server.options().clock.now());
    for (date, code) in [(today, 0), (today.saturating_sub(9.days()), 99_992_375)] {
        let room = company.rooms_on(date).pop().unwrap();
        let body = json!({
            "start_time": start.as_second(), "end_time": end.as_second(), "room_id": room.room_id,
        });
        assert_eq!(app.submit("meeting_list", &body).await.code(), code);
    }
}

#[tokio::test]
async fn levels_are_found_below_no_level_the_root_and_any_other_one() {
    let app = App::start(fast()).await;
    let levels = app.server.company().room_levels();
    let root = &levels[0].room_level_id;
    let below = |parent: &str| -> Vec<&str> {
        let children = levels.iter().filter(|level| level.parent_id == parent);
        children.map(|level| level.room_level_id.as_str()).collect()
    };
    for (query, parent) in [
        (String::new(), root),
        ("room_level_id=".to_owned(), root),
        ("room_level_id=0".to_owned(), root),
        (format!("room_level_id={root}"), root),
        (
            format!("room_level_id={}", levels[1].room_level_id),
            &levels[1].room_level_id,
        ),
        // A level without any below it.
        (
            format!("room_level_id={}", levels[11].room_level_id),
            &levels[11].room_level_id,
        ),
    ] {
        let told = pages(&app, &format!("{LEVELS}?page_size=2&{query}"))
            .await
            .concat();
        assert_eq!(texts(&told, "room_level_id"), below(parent), "{query}");
    }
    for id in ["0", root] {
        let told = app.get(&format!("{LEVELS}/{id}")).await;
        assert_eq!(told.body["data"]["room_level"]["room_level_id"], *root);
    }
    for path in [
        format!("{LEVELS}?room_level_id=omb_unknown"),
        format!("{LEVELS}/omb_unknown"),
        format!("{ROOMS}&room_level_id=omb_unknown"),
    ] {
        assert!(not_found(&app.get(&path).await), "{path}");
    }
}

#[tokio::test]
async fn a_fault_strikes_a_chosen_page() {
    let mut options = with_faults(&["html-200@rooms:#2", "5xx@room_levels:#2+"]);
    options.knobs.rooms = Some(250);
    let app = App::start(options).await;
    let first = app.get(ROOMS).await;
    let token = first.body["data"]["page_token"].as_str().unwrap();
    let second = format!("{ROOMS}&page_token={token}");
    assert!(app.get(&second).await.body.is_string());
    assert_eq!(app.get(&second).await.code(), 0);

    let first = app.get(&format!("{LEVELS}?page_size=2")).await;
    let token = first.body["data"]["page_token"].as_str().unwrap();
    for _ in 0..3 {
        let second = app
            .get(&format!("{LEVELS}?page_size=2&page_token={token}"))
            .await;
        assert!(second.status >= 500);
    }
}

#[test]
fn of_three_days_two_are_alike_and_two_differ_in_three_rooms() {
    let options = fast();
    let zone = jiff::tz::TimeZone::get("Asia/Shanghai").unwrap();
    let company = Company::new(7, options.last_day, 2, 1, zone).with_changing_rooms();
    let mut date = options.last_day;
    for _ in 0..20 {
        let (today, tomorrow) = (
            company.rooms_on(date),
            company.rooms_on(date.tomorrow().unwrap()),
        );
        assert_eq!((today.len(), tomorrow.len()), (18, 18));
        let has = |rooms: &[std::sync::Arc<Room>], id: &str| {
            rooms.iter().find(|room| room.room_id == id).cloned()
        };
        let gone = today
            .iter()
            .filter(|room| has(&tomorrow, &room.room_id).is_none());
        let new = tomorrow
            .iter()
            .filter(|room| has(&today, &room.room_id).is_none());
        let renamed = today.iter().filter(|room| {
            has(&tomorrow, &room.room_id).is_some_and(|later| later.name != room.name)
        });
        let changes = [gone.count(), new.count(), renamed.count()];
        let after = company.rooms_on(date.saturating_add(2.days()));
        let expected = if today == tomorrow { [0; 3] } else { [1; 3] };
        assert_eq!(changes, expected);
        assert_ne!(today == tomorrow, tomorrow == after);
        date = date.tomorrow().unwrap();
    }
    assert!(
        company
            .rooms()
            .iter()
            .any(|room| room.disable_end == DisableEnd::Never)
    );
}

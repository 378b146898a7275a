//! Who works at the company, and the outsiders who dial in.
//!
//! Employees come from the seed alone, so everybody is the same person in every endpoint and on every day.

use std::sync::Arc;

use crate::random::Draw;

/// How many people the company employs.
pub(super) const EMPLOYEES: u64 = 60;

/// Departments, one word for each as it stands in a sheet.
pub(super) const DEPARTMENTS: [&str; 9] = [
    "销售一部",
    "销售二部",
    "研发中心",
    "人事部",
    "法务部",
    "市场部",
    "IT支持",
    "财务部",
    "Data Platform",
];

const SURNAMES: [&str; 20] = [
    "王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "胡", "朱", "高", "林",
    "何", "郭", "马", "欧阳",
];
const GIVEN_NAMES: [&str; 24] = [
    "伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "明",
    "超", "秀英", "霞", "平", "子涵", "雨桐", "浩然", "思远",
];
const GUESTS: [&str; 12] = [
    "访客-Alex",
    "访客-小林",
    "Priya (Vendor)",
    "田中 太郎",
    "客户代表A",
    "客户代表B",
    "审计-周老师",
    "Guest \"Sam\"",
    "O'Brien",
    "面试候选人",
    "外部顾问",
    "José",
];

/// Somebody who works at the company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Employee {
    /// Id within the app, `ou_…`.
    pub open_id: String,
    /// Id within the tenant, 8 characters; what sheets show as 用户ID.
    pub user_id: String,
    /// Id across the developer's apps, `on_…`.
    pub union_id: String,
    /// Display name; not unique.
    pub name: String,
    /// Department's name; empty for the few who belong to none.
    pub department: String,
    /// Job number, 11 digits.
    pub employee_no: String,
    /// Work address; empty for a few.
    pub email: String,
    /// Masked number such as `+86138****6444`; a few have a land line.
    pub mobile: String,
    /// The device that this person mostly joins with.
    pub usual_device: &'static str,
    /// The device that this person falls back to.
    pub other_device: &'static str,
}

/// The employees of the company that `root` stands for.
pub(super) fn employees(root: Draw) -> Vec<Arc<Employee>> {
    let draw = root.label("employees");
    (0..EMPLOYEES)
        .map(|index| Arc::new(employee(draw.at(index))))
        .collect()
}

fn employee(draw: Draw) -> Employee {
    let user_id = draw.label("user_id").hex(8);
    let without_email = draw.label("no email").chance(0.05);
    let without_department = draw.label("no department").chance(0.05);
    Employee {
        open_id: format!("ou_{}", draw.label("open_id").hex(32)),
        union_id: format!("on_{}", draw.label("union_id").hex(32)),
        name: format!(
            "{}{}",
            draw.label("surname").pick(&SURNAMES),
            draw.label("given").pick(&GIVEN_NAMES)
        ),
        department: if without_department {
            String::new()
        } else {
            draw.label("department").pick(&DEPARTMENTS).to_owned()
        },
        employee_no: format!("8{:010}", draw.label("employee_no").below(10_000_000_000)),
        email: if without_email {
            String::new()
        } else {
            format!("{user_id}@example.com")
        },
        mobile: mobile(draw.label("mobile")),
        usual_device: draw
            .label("usual")
            .pick(&["WINDOWS", "WINDOWS", "MAC", "MAC", "LINUX"]),
        other_device: draw.label("other").pick(&["IOS", "ANDROID", "WEB"]),
        user_id,
    }
}

fn mobile(draw: Draw) -> String {
    if draw.label("land line").chance(0.05) {
        return format!("021-{:06}", draw.below(1_000_000));
    }
    format!(
        "+86{}****{:04}",
        draw.label("prefix").pick(&[138, 139, 150, 186]),
        draw.below(10_000)
    )
}

/// The name of an outsider; `number` below [`guest_names`] makes it distinct within a meeting.
pub(super) fn guest_name(number: u64) -> String {
    GUESTS[(number % guest_names()) as usize].to_owned()
}

/// How many outsiders there are.
pub(super) const fn guest_names() -> u64 {
    GUESTS.len() as u64
}

//! The sheets: which columns they have, and rows that could be a large company's.
//!
//! Headers and formats are those that were observed in exports. Rows come by time, as a service would list them, which is
//! the order that they leave in; or by number, so that all of them have to be sorted.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, date};
use jiff::{SignedDuration, ToSpan as _};

use crate::random::Random;

/// Which sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Meetings of thirty days.
    Meeting,
    /// Meetings of one day.
    Day,
    Participants,
    Quality,
}

/// The day of [`Layout::Day`], and the first one of [`Layout::Meeting`].
pub(crate) const FIRST_DAY: Date = date(2026, 10, 1);

/// In which order the rows stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Time,
    Number,
}

impl FromStr for Layout {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "meeting" => Ok(Self::Meeting),
            "day" => Ok(Self::Day),
            "participants" => Ok(Self::Participants),
            "quality" => Ok(Self::Quality),
            _ => anyhow::bail!(
                "LAYOUT is `meeting`, `day`, `participants` or `quality`, not `{text}`"
            ),
        }
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "time" => Ok(Self::Time),
            "number" => Ok(Self::Number),
            _ => anyhow::bail!("ORDER is `time` or `number`, not `{text}`"),
        }
    }
}

const MEETING: [&str; 20] = [
    " 会议 ID ",
    "外部会议",
    "会议主题",
    "会议类型 ",
    "组织者",
    "组织者部门",
    "用户ID",
    " 工号",
    "邮箱",
    "手机",
    "会议开始时间",
    "会议结束时间",
    "会议时长",
    "参会人数",
    "累计入会设备数",
    "音频",
    "视频 ",
    "共享",
    "录制",
    "电话",
];
const PARTICIPANTS: [&str; 24] = [
    "参会者 ",
    "部门",
    " 用户ID",
    "工号",
    "电话",
    "邮箱",
    "设备",
    "客户端版本",
    "公网IP ",
    "内网IP",
    "代理服务",
    "位置",
    "网络类型",
    "连接类型",
    "麦克风",
    "扬声器",
    "摄像头",
    "音频",
    "视频",
    "共享",
    "入会时间",
    "离会时间 ",
    "参会时长",
    "离会原因",
];
const DEPARTMENTS: [&str; 12] = [
    "法务部",
    "市场部",
    "财务部",
    "人力资源部",
    "基础架构部",
    "数据平台部",
    "客户成功部",
    "供应链中心",
    "Sales APAC",
    "Design",
    "研发一部",
    "研发二部",
];
const SURNAMES: [&str; 12] = [
    "王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙",
];
const NAMES: [&str; 16] = [
    "洋", "伟", "芳", "娜", "秀英", "敏", "静", "丽", "强", "磊", "军", "勇", "艳", "杰", "娟",
    "子涵",
];
const SUBJECTS: [&str; 12] = [
    "周会",
    "项目评审",
    "需求沟通",
    "1:1",
    "面试",
    "全员大会",
    "上线复盘",
    "Roadmap sync",
    "OKR 对齐",
    "供应商会议",
    "Q&A",
    "培训",
];
const NETWORKS: [&str; 4] = ["有线", "Wi-Fi", "4G", "5G"];
const DEVICES: [&str; 5] = ["Windows", "Mac", "iPhone", "Android", "Rooms"];

impl Layout {
    /// The header row.
    pub(crate) fn header(self) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        match self {
            Self::Meeting | Self::Day => owned(&MEETING),
            Self::Participants => owned(&PARTICIPANTS),
            Self::Quality => quality_header(),
        }
    }

    /// So many rows below it.
    pub(crate) fn rows(self, rows: u32, order: Order) -> Box<dyn Iterator<Item = Vec<String>>> {
        match self {
            Self::Meeting => Box::new(meetings(rows, 30, order)),
            Self::Day => Box::new(meetings(rows, 1, order)),
            Self::Participants => Box::new((0..rows).map(participant)),
            Self::Quality => Box::new((0..rows).map(minute)),
        }
    }
}

/// Meetings of so many days: every tenth belongs to a series that keeps its number.
fn meetings(rows: u32, days: u32, order: Order) -> impl Iterator<Item = Vec<String>> {
    let mut random = Random::new(1);
    let step = f64::from(days * 86_400) / f64::from(rows.max(1));
    let mut meetings: Vec<(u64, i64, u64)> = (0..rows)
        .map(|row| {
            let number = if random.chance(10) {
                random.below(20_000) * 44_999
            } else {
                random.below(900_000_000)
            };
            (
                100_000_000 + number,
                (f64::from(row) * step) as i64,
                random.next(),
            )
        })
        .collect();
    if order == Order::Number {
        meetings.sort_unstable();
    }
    meetings
        .into_iter()
        .map(|(number, start, seed)| meeting(number, start, seed))
}

fn meeting(number: u64, start: i64, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let start = FIRST_DAY
        .at(0, 0, 0, 0)
        .saturating_add(SignedDuration::from_secs(start));
    let seconds = 60 + i64::try_from(random.below(7_000)).expect("two hours");
    let people = 2 + random.below(40);
    let topic = match random.below(10) {
        0..3 => random.pick(&SUBJECTS).to_owned(),
        3..9 => format!(
            "{}{} {}",
            random.pick(&DEPARTMENTS),
            random.pick(&SUBJECTS),
            random.below(10_000_000)
        ),
        _ => format!(
            "{}\n第 {} 次，请提前阅读材料并填写意见",
            random.pick(&SUBJECTS),
            random.below(100_000)
        ),
    };
    let mut row = vec![
        number.to_string(),
        yes(random.chance(20)),
        topic,
        if random.chance(90) {
            "视频会议"
        } else {
            "本地投屏"
        }
        .to_owned(),
    ];
    row.extend(person(&mut random, 8));
    row.extend([
        instant(start),
        instant(start.saturating_add(seconds.seconds())),
        duration(seconds),
    ]);
    row.extend([people.to_string(), (people + random.below(5)).to_string()]);
    row.extend([95, 60, 45, 10, 2].map(|percent| yes(random.chance(percent))));
    row
}

/// Name, department, user id, job number, e-mail, phone of one of 20,000 employees; `guests` percent have a name only.
fn person(random: &mut Random, guests: u64) -> [String; 6] {
    let is_guest = random.chance(guests);
    let mut own = Random::new(random.below(20_000));
    let name = format!("{}{}", own.pick(&SURNAMES), own.pick(&NAMES));
    if is_guest {
        return [
            name,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ];
    }
    let id = format!("{:08x}", own.below(1 << 32));
    [
        name,
        own.pick(&DEPARTMENTS).to_owned(),
        id.clone(),
        (10_000_000_000 + own.below(89_999_999_999)).to_string(),
        format!("{id}@example.com"),
        format!("+86138****{:04}", own.below(10_000)),
    ]
}

fn participant(row: u32) -> Vec<String> {
    let mut random = Random::new(u64::from(row) + 7);
    let join = date(2026, 10, 12)
        .at(10, 0, 0, 0)
        .saturating_add(i64::from(row % 3_000).seconds());
    let seconds = 60 + i64::try_from(random.below(3_000)).expect("an hour");
    let [name, department, user, number, email, mobile] = person(&mut random, 10);
    let address = |random: &mut Random, prefix: &str| {
        format!("{prefix}.{}.{}", random.below(256), random.below(256))
    };
    vec![
        name,
        department,
        user,
        number,
        mobile,
        email,
        random.pick(&DEVICES).to_owned(),
        format!("7.{}.{}", random.below(60), random.below(10)),
        address(&mut random, "203.0"),
        address(&mut random, "10.1"),
        yes(random.chance(5)),
        "上海".to_owned(),
        random.pick(&NETWORKS).to_owned(),
        "UDP".to_owned(),
        "内置麦克风".to_owned(),
        "内置扬声器".to_owned(),
        if random.chance(80) {
            "FaceTime HD Camera"
        } else {
            "-"
        }
        .to_owned(),
        yes(random.chance(95)),
        yes(random.chance(60)),
        yes(random.chance(20)),
        instant(join),
        instant(join.saturating_add(seconds.seconds())),
        duration(seconds),
        if random.chance(90) {
            "会议结束"
        } else {
            "主动离会"
        }
        .to_owned(),
    ]
}

fn quality_header() -> Vec<String> {
    let mut header = vec!["时间".to_owned()];
    for medium in ["音频", "视频", "共享屏幕"] {
        for direction in ["接收", "发送"] {
            let figures = ["码率", "延迟", "抖动", "丢包平均", "丢包最大"];
            header.extend(figures.map(|figure| format!("{medium}-{figure}（{direction}）")));
        }
    }
    header.extend(
        ["客户端最小", "客户端平均", "客户端最大", "系统最大"]
            .map(|which| format!("{which} CPU 占用")),
    );
    header
}

fn minute(row: u32) -> Vec<String> {
    let mut random = Random::new(u64::from(row) + 3);
    let time = date(2026, 10, 12)
        .at(10, 0, 0, 0)
        .saturating_add(i64::from(row).minutes());
    let mut cells = vec![instant(time)];
    for medium in 0..6 {
        if medium >= 2 && random.chance(40) {
            cells.extend(std::iter::repeat_n("-".to_owned(), 5));
            continue;
        }
        let rate = random.below(2_000);
        cells.push(if rate >= 1_000 {
            format!("{}.{}Mbps", rate / 1_000, rate / 100 % 10)
        } else {
            format!("{rate}kbps")
        });
        cells.push(format!("{}ms", random.below(300)));
        cells.push(format!("{}ms", random.below(60)));
        let loss = random.below(30);
        cells.push(format!("{}.{}%", loss / 10, loss % 10));
        cells.push(format!("{}%", loss / 2));
    }
    let load = random.below(40);
    cells.extend([load, load + 5, load + 20, load + 30].map(|percent| format!("{percent}%")));
    cells
}

fn yes(is: bool) -> String {
    if is { "是" } else { "否" }.to_owned()
}

fn instant(time: DateTime) -> String {
    format!(
        "{:04}.{:02}.{:02} {:02}:{:02}:{:02} (GMT+08:00)",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

fn duration(seconds: i64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

//! Call quality, minute by minute, as the text that stands in the sheet.
//!
//! A value is a hash of the participant and the minute, so nothing is stored. Order of the cells: the documented columns without the time.

use jiff::Timestamp;

use super::meetings::Participant;
use crate::random::Draw;

/// Cells of a minute beside the time: three media, two directions, five figures, and four processor figures.
pub const QUALITY_CELLS: usize = 34;

/// One row of a quality sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QualityMinute {
    /// First second of the minute.
    pub time: Timestamp,
    /// [`QUALITY_CELLS`] texts such as `50kbps`, `1.2Mbps`, `5ms`, `0.8%`, `-` or nothing; audio, video, screen share, each received then sent,
    /// each bitrate, latency, jitter, average and greatest loss; then client minimum, average, maximum and system maximum processor load.
    pub cells: Vec<String>,
}

impl QualityMinute {
    /// The row of `participant` for `minute`, counted from the epoch.
    pub(super) fn of(participant: &Participant, minute: i64) -> Self {
        let draw = participant.draw.label("quality").at(minute.unsigned_abs());
        let mut cells = Vec::with_capacity(QUALITY_CELLS);
        let streams = [
            (true, 24, 96),
            (participant.used_audio, 24, 96),
            (true, 180, 3_200),
            (participant.used_video, 180, 3_200),
            (draw.label("somebody shares").chance(0.4), 60, 1_800),
            (participant.used_screen_share, 60, 1_800),
        ];
        for (index, (flows, slowest_kbps, fastest_kbps)) in streams.into_iter().enumerate() {
            stream(
                draw.at(index as u64),
                flows,
                slowest_kbps,
                fastest_kbps,
                &mut cells,
            );
        }
        processor(draw.label("processor"), &mut cells);
        Self {
            time: Timestamp::from_second(minute * 60).unwrap_or(Timestamp::MAX),
            cells,
        }
    }
}

fn stream(draw: Draw, flows: bool, slowest_kbps: u64, fastest_kbps: u64, cells: &mut Vec<String>) {
    if !flows {
        cells.extend(std::iter::repeat_n(String::new(), 5));
        return;
    }
    if draw.label("unmeasured").chance(0.02) {
        cells.extend(std::iter::repeat_n("-".to_owned(), 5));
        return;
    }
    cells.push(bitrate(draw.at(0).between(slowest_kbps, fastest_kbps)));
    cells.push(format!("{}ms", draw.at(1).between(4, 280)));
    cells.push(format!("{}ms", draw.at(2).below(40)));
    let average_tenths = if draw.label("lossy").chance(0.1) {
        draw.at(3).below(80)
    } else {
        draw.at(3).below(12)
    };
    cells.push(percent(average_tenths));
    cells.push(percent(average_tenths + 10 * draw.at(4).below(20)));
}

fn bitrate(kbps: u64) -> String {
    if kbps < 1_000 {
        return format!("{kbps}kbps");
    }
    format!("{}.{}Mbps", kbps / 1_000, kbps % 1_000 / 100)
}

fn percent(tenths: u64) -> String {
    if tenths.is_multiple_of(10) {
        format!("{}%", tenths / 10)
    } else {
        format!("{}.{}%", tenths / 10, tenths % 10)
    }
}

fn processor(draw: Draw, cells: &mut Vec<String>) {
    let least = draw.at(0).between(1, 15);
    let average = least + draw.at(1).below(15);
    let most = average + draw.at(2).below(25);
    let system = (most + draw.at(3).below(40)).min(100);
    cells.extend([least, average, most, system].map(|value| format!("{value}%")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_with_their_units() {
        assert_eq!(bitrate(50), "50kbps");
        assert_eq!(bitrate(1_250), "1.2Mbps");
        assert_eq!(percent(20), "2%");
        assert_eq!(percent(8), "0.8%");
    }

    #[test]
    fn a_minute_has_all_its_cells() {
        let mut cells = Vec::new();
        stream(Draw::new(1), true, 24, 96, &mut cells);
        stream(Draw::new(1), false, 24, 96, &mut cells);
        processor(Draw::new(1), &mut cells);
        assert_eq!(cells.len(), 14);
    }
}

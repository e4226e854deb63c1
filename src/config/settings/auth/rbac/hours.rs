//! Hours of the week, in UTC: `09:00-17:00`, `Mon-Fri 09:00-17:00`, `Fri,Sat 22:00-06:00`.

use std::fmt;

use aegis_schema::ensure;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u64 = 24 * 60;

/// A stretch of some days of the week. What goes over midnight belongs to the day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// As written.
    text: String,
    /// One bit for each day, Monday the lowest.
    days: u8,
    /// Minutes from midnight, the first.
    from: u64,
    /// And the first that is no more of it; not after `from` where it goes over midnight.
    to: u64,
}

impl Hours {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong, and how to mend it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write `HH:MM-HH:MM` in UTC, such as `09:00-17:00`, and perhaps days before it, such as `Mon-Fri` \
                            or `Sat,Sun`";
        let mut words = text.split_ascii_whitespace();
        let (days, hours) = match (words.next(), words.next(), words.next()) {
            (Some(hours), None, None) => (0b111_1111, hours),
            (Some(days), Some(hours), None) => (read_days(days).ok_or(FORM)?, hours),
            _ => return Err(FORM),
        };
        let (from, to) = hours.split_once('-').ok_or(FORM)?;
        let (from, to) = (minutes(from).ok_or(FORM)?, minutes(to).ok_or(FORM)?);
        ensure!(from < DAY, "it begins before 24:00: write `00:00` for midnight");
        ensure!(from != to, "it begins when it ends: write `00:00-24:00` for the whole day");
        Ok(Self { text: text.to_owned(), days, from, to })
    }

    /// Whether a time, in seconds since the Unix epoch, is among them. The first minute is, the last is not.
    pub fn cover(&self, unix_seconds: u64) -> bool {
        let (day, minute) = (unix_seconds / 86_400, unix_seconds / 60 % DAY);
        // The first of January 1970 was a Thursday.
        let weekday = (day + 3) % 7;
        let on = |weekday: u64| self.days & (1 << weekday) != 0;
        if self.from < self.to {
            return on(weekday) && (self.from..self.to).contains(&minute);
        }
        (on(weekday) && minute >= self.from) || (on((weekday + 6) % 7) && minute < self.to)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn read_days(text: &str) -> Option<u8> {
    let day = |text: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(text));
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // `Fri-Mon` goes over the end of the week.
        (0..=(last + 7 - first) % 7).for_each(|step| days |= 1 << ((first + step) % 7));
    }
    Some(days)
}

/// `09:00` as minutes from midnight; `24:00` is the end of the day.
fn minutes(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u64>().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= DAY).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since the epoch of a day of the first week of 2024, which began on a Monday.
    fn at(weekday: u64, hour: u64, minute: u64) -> u64 {
        1_704_067_200 + weekday * 86_400 + hour * 3_600 + minute * 60
    }

    #[test]
    fn the_first_minute_is_in_and_the_last_is_out() {
        let hours = Hours::parse("09:00-17:30").unwrap();
        for (hour, minute, covered) in [(8, 59, false), (9, 0, true), (17, 29, true), (17, 30, false)] {
            assert_eq!(hours.cover(at(2, hour, minute)), covered, "{hour}:{minute}");
        }
        assert!(hours.cover(at(2, 17, 29) + 59));
    }

    #[test]
    fn what_goes_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let hours = Hours::parse("Fri,sun 22:00-06:00").unwrap();
        for (day, hour, covered) in [
            (4, 21, false),
            (4, 22, true),
            (5, 5, true),
            (5, 6, false),
            (5, 23, false),
            (6, 5, false),
            (6, 22, true),
            (0, 5, true),
            (0, 22, false),
        ] {
            assert_eq!(hours.cover(at(day, hour, 0)), covered, "day {day}, {hour}:00");
        }
    }

    #[test]
    fn days_are_one_or_several_and_may_go_over_the_end_of_the_week() {
        let on = |text: &str| {
            let hours = Hours::parse(text).unwrap();
            (0..7).filter(|day| hours.cover(at(*day, 12, 0))).collect::<Vec<_>>()
        };
        assert_eq!(on("00:00-24:00"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(on("Mon-Fri 00:00-24:00"), [0, 1, 2, 3, 4]);
        assert_eq!(on("FRI-mon 12:00-12:01"), [0, 4, 5, 6]);
        assert_eq!(on("Tue,Thu-Fri 00:00-24:00"), [1, 3, 4]);
        assert_eq!(on("Sun 00:00-24:00"), [6]);
        assert!(Hours::parse("Thu 00:00-00:01").unwrap().cover(0), "the epoch was a Thursday");
    }

    #[test]
    fn what_is_no_stretch_is_refused() {
        for text in [
            "",
            "09:00",
            "9:00-17:00",
            "09:00-17:60",
            "09:00-24:01",
            "24:00-25:00",
            "24:00-06:00",
            "09:00-09:00",
            "Mon",
            "Mon 09:00",
            "Mo 09:00-10:00",
            "Mon-Xxx 09:00-10:00",
            "Mon- 09:00-10:00",
            "Mon, 09:00-10:00",
            "Mon-Fri 09:00-10:00 UTC",
            "09:00 - 17:00",
            "+9:00-17:00",
            "09:00-17:00-18:00",
        ] {
            assert!(Hours::parse(text).is_err(), "{text:?}");
        }
    }
}

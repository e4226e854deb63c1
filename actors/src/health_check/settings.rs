//! `backends[].healthCheck` of the configuration.

use std::time::Duration;

use aegis_schema::form::matching;
use aegis_schema::{Form, Section};

aegis_schema::section! {
    /// Active checks of one backend's targets. They run only when the section is present.
    pub struct Settings, check check {
        /// asked with GET; 200–399 is healthy
        path: String = "/health".into(), "path" path();
        /// asked on this port of the target's addresses, with the same `Host`, where it is not the one that requests go to
        port: Option<u16>, "port" int(1..=65_535).option().unset("the target's");
        /// between two checks of a target, ±10 %
        interval: Duration = Duration::from_secs(30), "intervalMs" duration();
        /// one check, connect included
        timeout: Duration = Duration::from_secs(5), "timeoutMs" duration();
        /// failed checks in a row that make a target unhealthy
        unhealthy_threshold: u32 = 3, "unhealthyThreshold" int(1..=1000);
        /// passed checks in a row that make it healthy again
        healthy_threshold: u32 = 2, "healthyThreshold" int(1..=1000);
    }
}

fn check(settings: &mut Settings, section: &Section<'_>) {
    if settings.timeout > settings.interval
        && let Some(node) = section.node("timeoutMs").or_else(|| section.node("intervalMs"))
    {
        let name = section.name("timeoutMs");
        let what =
            "is longer than `intervalMs`: a slow target is checked less often than it says; shorten it";
        section.warning(node, format!("`{name}` {what}"));
    }
}

fn path() -> Form<String> {
    const WHAT: &str = "must be a path such as /health, found {found}: start it with `/`, without host";
    matching("path, query allowed", WHAT, |text| {
        text.starts_with('/') && !text.contains('#') && text.bytes().all(|b| b.is_ascii_graphic())
    })
}

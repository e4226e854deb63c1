//! `aegis explain`: how a request would be handled, by a configuration or by the running gateway.

mod headers;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_actors::rate_limiter::Limiter;
use clap::Args;
use serde_json::{Map, Value, json};

use super::running::Running;
use super::why::placed;
use super::{Configuration, complain, say};
use crate::config::{Loaded, Located, load_with};
use crate::gateway::explain::told::Explanation;
use crate::gateway::explain::{Asked, Moment, explain};
use crate::supervisor::{build, validate};

/// What the help says beside the arguments.
pub const MORE: &str = "\
Without --live the configuration alone is asked: no target has a state, nothing of a limit is used up, and keys that an
issuer publishes are not here. With it the running gateway is, by its admin listener, which the configuration names: targets
and limits are told as they stand.
Credentials: in a file (-H @FILE) or on standard input (-H @-), one header a line, not in the arguments, which other users of
the machine see. A client certificate counts as not shown.
Undetermined is what another has to be asked for: keys of an issuer that would be fetched, what is left of a limit that only
the shared store knows.";

/// Wrong usage.
const USAGE: i32 = 2;

#[derive(Args, Debug)]
pub struct Order {
    /// Such as GET.
    method: String,
    /// http://HOST/PATH, https://HOST/PATH, or /PATH, of the host localhost.
    url: String,
    /// A header, `Name: value`; may be repeated. @FILE: those of a file, one a line; @-: of standard input.
    #[arg(short = 'H', long = "header", value_name = "K: V")]
    headers: Vec<String>,
    /// The address that the request would come from.
    #[arg(long, value_name = "A", default_value_t = IpAddr::from(Ipv4Addr::LOCALHOST))]
    ip: IpAddr,
    #[command(flatten)]
    configuration: Configuration,
    /// Ask the running gateway.
    #[arg(long)]
    live: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Explains; the exit code is 0 whatever would become of the request, 1 when nobody can tell, 2 when it is no request.
pub fn run(order: Order) -> i32 {
    let Order { method, url, headers, ip, configuration, live, json } = order;
    let reads_input = configuration.file.as_ref().is_some_and(|file| file.as_os_str() == "-");
    let headers = match headers::read(&headers, reads_input) {
        Ok(headers) => headers,
        Err((why, code)) => {
            complain(format_args!("aegis explain: {why}"));
            return code;
        }
    };
    configuration.read(|source| {
        let loaded = match load_with(&source, validate) {
            Ok(loaded) => loaded,
            Err(problems) => {
                complain(problems);
                return 1;
            }
        };
        // What is no request is told before anybody is asked.
        let bounds = loaded.settings.server.head();
        let asked = match Asked::new(&method, &url, &headers.all, ip, bounds) {
            Ok(asked) => asked,
            Err(why) => {
                complain(format_args!("aegis explain: {why}"));
                return USAGE;
            }
        };
        let key = Some(loaded.settings.auth.api_key.header_name.as_str());
        if headers.tells_secrets(key) {
            complain(
                "aegis explain: other users of this machine see credentials in arguments: send them by -H @FILE or -H @-",
            );
        }
        let explained = match live {
            true => ask(&loaded, &method, &url, ip, &headers.all),
            false => alone(&loaded, &asked),
        };
        match explained {
            Ok(explanation) => {
                print(&loaded, &explanation, json);
                0
            }
            Err(why) => {
                complain(format_args!("aegis explain: {why}"));
                1
            }
        }
    })
}

/// By the configuration alone.
fn alone(loaded: &Loaded, asked: &Asked) -> Result<Explanation, String> {
    let snapshot = build(&loaded.settings, None, 0, 1).map_err(|error| error.to_string())?;
    let max_keys = loaded.settings.rate_limit.as_ref().map_or(1, |limits| limits.max_keys);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let limiter = Limiter::new(max_keys, false);
    Ok(explain(&snapshot, asked, &Moment { limiter: &limiter, live: false, now_ms: now.as_millis() as u64 }))
}

/// By the running gateway.
fn ask(
    loaded: &Loaded,
    method: &str,
    url: &str,
    ip: IpAddr,
    headers: &[(String, String)],
) -> Result<Explanation, String> {
    let mut by_name: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let values = by_name.entry(name.to_ascii_lowercase()).or_insert_with(|| json!([]));
        values.as_array_mut().into_iter().for_each(|values| values.push(json!(value)));
    }
    let question = json!({ "method": method, "url": url, "ip": ip, "headers": by_name });
    let answer = Running::of(&loaded.settings.admin).post("/_aegis/explain", &question)?;
    serde_json::from_value(answer)
        .map_err(|_| "the gateway is of another version: its answer cannot be read".to_owned())
}

fn print(loaded: &Loaded, explanation: &Explanation, json: bool) {
    let same = explanation.config_hash == loaded.hash;
    if !json {
        let here = (!same).then_some(loaded.hash.as_str());
        return say(text::describe(explanation, here, |key| loaded.places.locate(key)).trim_end());
    }
    let mut value = json!(explanation);
    if let Some(key) = explanation.verdict.decided_by.as_deref().filter(|_| same) {
        let located = loaded.places.locate(key);
        value["verdict"]["decidedAt"] = json!(placed(&located));
        if let Located::Written(place) = located {
            value["verdict"]["line"] = json!(place.line);
        }
    }
    say(format_args!("{value:#}"));
}

//! `redis`.

use super::*;

fn with(url: &str) -> String {
    format!("{GOOD}redis: {{url: '{url}'}}\n")
}

#[test]
fn the_default_prefix_is_aegis_and_without_the_section_there_is_no_redis() {
    let redis = good(&with("redis://127.0.0.1:6379/0")).settings.redis.unwrap();
    assert_eq!((redis.url.as_str(), redis.key_prefix.as_str()), ("redis://127.0.0.1:6379/0", "aegis"));
    assert_eq!(good(GOOD).settings.redis, None);
    assert_eq!(good(&format!("{GOOD}redis:\n")).settings.redis, None);
}

#[test]
fn one_server_sentinels_and_a_cluster_can_be_named() {
    for url in [
        "redis://localhost",
        "redis://localhost/",
        "redis://[::1]/3",
        "rediss://user:p%40ss,w:rd@redis.internal:6380/15",
        "redis://:p@10.0.0.1:6379",
        "redis-sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster",
        "rediss-sentinel://u:p@a:1,[fd00::1]:2,c:3/my-master/4",
        "redis-cluster://a:1",
        "rediss-cluster://u:p@a:1,b:2/",
    ] {
        let loaded = good(&with(url));
        assert_eq!(loaded.settings.redis.map(|redis| redis.url).as_deref(), Some(url));
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn a_url_that_cannot_be_used_says_how_to_write_it() {
    for (url, why) in [
        ("", "it is empty; write redis://HOST:PORT/DB"),
        ("localhost:6379", "write redis://HOST:PORT/DB"),
        ("unix:///run/redis.sock", "not supported: write redis://HOST:PORT"),
        ("redis+unix:///run/redis.sock", "not supported"),
        ("http://h", "none of Redis's: write redis://"),
        ("redis+sentinel://h:1/m", "did you mean `redis-sentinel`?"),
        ("REDIS://h", "did you mean `redis`?"),
        ("redis://", "a host is missing"),
        ("redis://:6379", "no host name or address"),
        ("redis://h:0", "from 1 to 65535"),
        ("redis://h:x", "from 1 to 65535"),
        ("redis://h:+1", "from 1 to 65535"),
        ("redis://fd00::1:6379", "in brackets"),
        ("redis://10.0.0.256", "no host name or address"),
        ("redis://h/x", "a number, as in `/0`"),
        ("redis://h/0/1", "a number, as in `/0`"),
        ("redis://h?db=1", "no query or fragment"),
        ("rediss://h/0#insecure", "no query or fragment"),
        ("redis://a:1,b:2", "several servers"),
        ("redis://u@h", "a user needs a password"),
        ("redis://u:@h", "the password is empty"),
        ("redis://:100%@h", "two hex digits"),
        ("redis://:a@b@h", "write `%40`"),
        ("redis-cluster://u:p@a:1,u:p@b:2", "once, in front of all servers"),
        ("redis://:a/b@h", "write `%2F`"),
        ("redis://:a#b@h", "`%23`"),
        ("redis-cluster://a:1, b:2", "spaces"),
        ("redis-cluster://a:1,,b:2", "a host is missing"),
        ("redis-cluster://a:1,b", "a port is missing"),
        ("redis-cluster://a:1/0", "no databases"),
        ("redis-sentinel://a:1", "master's name is missing"),
        ("redis-sentinel://a:1//0", "master's name is missing"),
        ("redis-sentinel://a:1/my%20master", "as the sentinels know it"),
        ("redis-sentinel://a:1/m/x", "a number, as in `/0`"),
    ] {
        refused(&with(url), "2:14", &["error: `redis.url` cannot be used: ", why]);
    }
    refused(&format!("{GOOD}redis: {{}}\n"), "2:1", &["`redis.url` is required"]);
    refused(
        &format!("{GOOD}redis: {{uri: 'redis://h', url: 'redis://h'}}\n"),
        "2:9",
        &["did you mean `url`?"],
    );
    refused(&format!("{GOOD}redis: 'redis://h'\n"), "2:8", &["must be a section with keys"]);
}

#[test]
fn a_key_prefix_is_of_plain_characters() {
    let prefix = |prefix: &str| format!("{GOOD}redis: {{url: 'redis://h', keyPrefix: {prefix}}}\n");
    for text in ["'eu-1:aegis_2.x'", "':'"] {
        assert_eq!(good(&prefix(text)).settings.redis.unwrap().key_prefix, text.trim_matches('\''));
    }
    for text in ["''".to_owned(), "'a b'".to_owned(), "'{a}'".to_owned(), "x".repeat(65)] {
        refused(&prefix(&text), "2:38", &["`redis.keyPrefix` must be 1 to 64 of the characters"]);
    }
}

#[test]
fn sentinels_may_have_a_password_of_their_own() {
    let redis = |more: &str| format!("{GOOD}redis: {{url: 'redis-sentinel://:p@a:1,b:2/m', {more}}}\n");
    let login = |more: &str| {
        let redis = good(&redis(more)).settings.redis.unwrap();
        (redis.sentinel_user, redis.sentinel_password.unwrap())
    };
    let alone = login("sentinelPassword: hunter2");
    assert_eq!((alone.0, alone.1.as_str()), (None, "hunter2"));
    let both = login("sentinelUser: ann, sentinelPassword: hunter2");
    assert_eq!((both.0.as_deref(), both.1.as_str()), (Some("ann"), "hunter2"));
    let loaded = good(&redis("sentinelUser: ann, sentinelPassword: hunter2"));
    assert_eq!(loaded.effective["redis"]["sentinelPassword"], "[redacted]");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    refused(&redis("sentinelUser: ann"), "2:61", &["needs a password: set `redis.sentinelPassword`"]);
    refused(&redis("sentinelPassword: ''"), "2:65", &["`redis.sentinelPassword` is empty"]);
    let server = format!("{GOOD}redis: {{url: 'redis://h', sentinelPassword: hunter2}}\n");
    let what = "`redis.sentinelPassword` is for sentinels, and the url names none: remove it, or write";
    refused(&server, "2:45", &[what]);
}

#[test]
fn the_password_is_never_shown() {
    for url in [
        "redis://:hunter2@h/0",
        "rediss://user:hunter2@h",
        "redis-sentinel://u:hunter2@a:1,b:2/m/0",
        "redis-cluster://u:hunter2@a:1,b:2",
    ] {
        let loaded = good(&with(url));
        let shown = loaded.effective["redis"]["url"].as_str().unwrap();
        let (scheme, rest) = shown.split_once("://").unwrap();
        assert!(url.starts_with(scheme) && rest.starts_with("[redacted]@"), "{shown}");
        assert_eq!(url.rsplit('@').next(), rest.rsplit('@').next());
        assert!(!format!("{loaded:?}").contains("hunter2"));
    }
    assert_eq!(good(&with("redis://:a@h")).hash, good(&with("redis://:b@h")).hash);
    for value in [
        "{url: 'redis://:hunter2@h:x'}",
        "{url: 'redis://:hun/ter2@h'}",
        "{url: 'redis://:hunter2?x@h'}",
        "{url: 'redi://:hunter2@h'}",
        "{url: 'hunter2'}",
        "{url: 'hunter2://h'}",
        "{url: ['redis://:hunter2@h']}",
        "'redis://:hunter2@h'",
        "'redis://:hunter2/ter2@h'",
    ] {
        let lines = lines(&format!("{GOOD}redis: {value}\n")).join("\n");
        assert!(!lines.is_empty() && !lines.contains("hunter2") && !lines.contains("ter2"), "{lines}");
    }
    let problems =
        load_from(GOOD, &env(&[("AEGIS__REDIS__URL", "redis://:hunter2@h:x")])).unwrap_err().to_string();
    assert_eq!(
        problems,
        "environment:1:1: error: `redis.url` cannot be used: a port must be a number from 1 to 65535 (set by AEGIS__REDIS__URL)"
    );
}

#[test]
fn the_url_can_come_from_the_environment_and_from_set() {
    let url = "redis-sentinel://:p@a:1,b:2/m";
    for source in [env(&[("AEGIS__REDIS__URL", url)]), set(&[&format!("redis.url={url}")])] {
        let redis = load_from(GOOD, &source).unwrap().settings.redis.unwrap();
        assert_eq!((redis.url.as_str(), redis.key_prefix.as_str()), (url, "aegis"));
    }
    let source = Source { set: vec!["redis=null".into()], ..alone() };
    assert_eq!(load_from(&with("redis://h"), &source).unwrap().settings.redis, None);
}

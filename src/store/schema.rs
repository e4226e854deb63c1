//! The tables as the code knows them, on both databases. `tests/migrating.rs` here compares this with what the
//! migrations make, and so does `scripts/check-migrations` with the diesel CLI.

diesel::table! {
    alert_holders (alert_id, instance) {
        alert_id -> Text,
        instance -> Text,
        at_ms -> BigInt,
    }
}

diesel::table! {
    alert_pushes (alert_id, webhook) {
        alert_id -> Text,
        webhook -> Text,
        told -> SmallInt,
        attempts -> Integer,
        error -> Nullable<Text>,
        at_ms -> Nullable<BigInt>,
        lease_by -> Text,
        lease_until_ms -> BigInt,
    }
}

diesel::table! {
    alerts (id) {
        id -> Text,
        rule_id -> Text,
        name -> Text,
        severity -> Text,
        value -> Double,
        threshold -> Double,
        message -> Text,
        instance -> Text,
        fired_at_ms -> BigInt,
        resolved_at_ms -> Nullable<BigInt>,
        acknowledged_at_ms -> Nullable<BigInt>,
        metric -> Text,
        operator -> Text,
        window_seconds -> Integer,
        backend -> Nullable<Text>,
        reason -> Nullable<Text>,
    }
}

diesel::table! {
    config_changes (instance, at_ms, generation) {
        instance -> Text,
        at_ms -> BigInt,
        generation -> BigInt,
        hash -> Text,
        what -> Text,
    }
}

diesel::table! {
    levels (seconds) {
        seconds -> Integer,
        since -> BigInt,
    }
}

diesel::table! {
    merged_rollups (seconds, series, start) {
        seconds -> Integer,
        series -> BigInt,
        start -> BigInt,
        requests -> BigInt,
        failed -> BigInt,
        limited -> BigInt,
        own -> BigInt,
        bytes_in -> BigInt,
        bytes_out -> BigInt,
        total_us -> BigInt,
        longest_us -> BigInt,
        latency -> Binary,
        limit_allowed -> BigInt,
        limit_limited -> BigInt,
        limit_shadow -> BigInt,
        limit_bypassed -> BigInt,
    }
}

diesel::table! {
    request_samples (request_id, at_ms, instance) {
        request_id -> Text,
        at_ms -> BigInt,
        instance -> Text,
        method -> Text,
        path -> Text,
        route -> Text,
        backend -> Text,
        status -> Integer,
        reason -> Nullable<Text>,
        duration_us -> BigInt,
        client -> Text,
        details -> Text,
    }
}

diesel::table! {
    rollups (instance, boot, start, seconds, route, backend, method, class) {
        instance -> Text,
        boot -> Text,
        start -> BigInt,
        seconds -> Integer,
        route -> Text,
        backend -> Text,
        method -> Text,
        class -> SmallInt,
        requests -> BigInt,
        failed -> BigInt,
        limited -> BigInt,
        own -> BigInt,
        bytes_in -> BigInt,
        bytes_out -> BigInt,
        total_us -> BigInt,
        longest_us -> BigInt,
        latency -> Binary,
        limit_allowed -> BigInt,
        limit_limited -> BigInt,
        limit_shadow -> BigInt,
        limit_bypassed -> BigInt,
    }
}

diesel::table! {
    series (id) {
        id -> BigInt,
        instance -> Text,
        scope -> SmallInt,
        route -> Text,
        backend -> Text,
        method -> Text,
        class -> SmallInt,
    }
}

diesel::table! {
    writers (instance, boot) {
        instance -> Text,
        boot -> Text,
        attempt -> BigInt,
        settled -> BigInt,
        seen -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(alert_holders, alerts);
diesel::allow_tables_to_appear_in_same_query!(alert_pushes, alerts);
diesel::allow_tables_to_appear_in_same_query!(merged_rollups, series);
diesel::allow_tables_to_appear_in_same_query!(rollups, writers);

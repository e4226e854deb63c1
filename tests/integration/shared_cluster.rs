//! A Redis cluster of three nodes works as one (R4).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::limits::{ALGORITHMS, MONTH, get_from, rule, shared, somebody, together, undisturbed};
use crate::harness::{Gateway, RedisCluster, Upstream, eventually};

/// A rule for each algorithm, ten requests a month.
fn limits(on_error: &str) -> String {
    let rules = ALGORITHMS.map(|name| {
        let numbers = format!("algorithm: {name}, requests: 10, windowSeconds: {MONTH}");
        rule(name, &format!("endpoint: /{name}"), &numbers, "")
    });
    format!("onError: {on_error}, rules: [{}]", rules.join(", "))
}

fn two_gateways(upstream: &Upstream, cluster: &RedisCluster, on_error: &str) -> [Gateway; 2] {
    let url = cluster.url();
    // So patient that a busy machine's delay is nobody's error: what is not exact then is the gateway's doing.
    let redis = format!("redis: {{url: \"{url}\", patienceMs: 5000}}");
    let start = || shared(upstream, &url, &limits(on_error)).top(&redis).start();
    let gateways = [start(), start()];
    together(&[&gateways[0], &gateways[1]]);
    gateways
}

#[test]
fn a_cluster_of_three_nodes_works_as_one() {
    let (upstream, cluster) = (Upstream::ok("ok"), RedisCluster::start());
    let [a, b] = two_gateways(&upstream, &cluster, "local");
    let mut nodes = BTreeSet::new();
    for algorithm in ALGORITHMS {
        let mut pool = [a.client(), b.client()];
        for _ in 0..20 {
            let (left, client) = undisturbed(&[&a, &b], |client| {
                let call = get_from(client, &format!("/{algorithm}"));
                (0..13)
                    .map(|at| pool[at % 2].send(&call))
                    .map(|r| (r.status, r.remaining()))
                    .collect::<Vec<_>>()
            });
            let expected: Vec<_> = (0..10).rev().map(|left| (200, left)).chain([(429, 0); 3]).collect();
            assert_eq!(left, expected, "{algorithm} {client}");
        }
    }
    for (at, node) in cluster.nodes.iter().enumerate() {
        let keys = node.command(&["KEYS", "*"]);
        let homes: BTreeSet<usize> = keys.lines().map(|key| cluster.home(key)).collect();
        assert_eq!(homes, BTreeSet::from([at]), "{keys}");
        nodes.extend(homes);
    }
    assert_eq!(nodes.len(), 3, "the keys are spread over all nodes");
}

#[test]
fn a_node_that_dies_costs_only_its_own_keys() {
    let (upstream, mut cluster) = (Upstream::ok("ok"), RedisCluster::start());
    let [a, b] = two_gateways(&upstream, &cluster, "local");
    let clients: Vec<String> = (0..60).map(|_| somebody()).collect();
    let ask =
        |gateway: &Gateway, client: &str, rule: &str| gateway.send(&get_from(client, &format!("/{rule}")));
    for client in &clients {
        ["tokenBucket", "slidingWindow"].iter().for_each(|rule| drop(ask(&a, client, rule)));
    }
    // Where a client's bucket is: on the node that has a key with its name.
    let keys: Vec<String> = cluster.nodes.iter().map(|node| node.command(&["KEYS", "*"])).collect();
    let home = |client: &str, rule: &str| {
        let is = |key: &str| key.contains(&format!("{{{rule}:")) && key.contains(&format!(":{client}}}"));
        keys.iter().position(|keys| keys.lines().any(is))
    };
    let (dead, undecided) = (0, |gateway: &Gateway| gateway.decisions("slidingWindow").error);
    let theirs: Vec<_> = clients.iter().filter(|client| home(client, "tokenBucket") == Some(dead)).collect();
    let others: Vec<_> = clients
        .iter()
        .filter(|client| home(client, "slidingWindow").is_some_and(|node| node != dead))
        .collect();
    assert!(theirs.len() > 5 && others.len() > 15, "{theirs:?} {keys:?}");
    cluster.nodes[dead].kill();
    // The clients of the others, all the while: counted in Redis, by both gateways together.
    for (turn, client) in others.iter().enumerate() {
        let left = [&b, &a, &b].map(|gateway| {
            let victim = ask(&a, theirs[turn % theirs.len()], "tokenBucket");
            assert!([200, 429].contains(&victim.status));
            ask(gateway, client, "slidingWindow").remaining()
        });
        assert_eq!(left, [8, 7, 6], "{client} {} {}", a.limits(), b.limits());
    }
    assert_eq!(undecided(&a) + undecided(&b), 0, "nobody of them was left to onError");
    // It comes back empty, and with it its clients' limits.
    cluster.nodes[dead].restart();
    assert!(eventually(Duration::from_secs(15), || {
        let client = somebody();
        [&a, &b].map(|gateway| ask(gateway, &client, "tokenBucket").remaining()) == [9, 8]
    }));
}

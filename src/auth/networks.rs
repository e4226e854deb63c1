//! A set of networks, asked for one address: ten thousand cost fourteen comparisons.
//!
//! Networks are stretches of numbers, and stretches that overlap or touch are one. What is left is sorted and disjoint, so
//! that the last one which begins at or before an address is the only one that can hold it.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks of both families. An IPv4 address in IPv6 (`::ffff:0:0/96`) is the IPv4 address, in networks and in what is asked
/// for; so `::/0` holds every IPv6 address and no IPv4 address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// The addresses of all of them.
    pub fn new<'n>(networks: impl IntoIterator<Item = &'n IpNet>) -> Self {
        let mut all = Self::default();
        for network in networks {
            match network {
                IpNet::V4(net) => all.v4.push((net.network().into(), net.broadcast().into())),
                IpNet::V6(net) => match (net.network().to_ipv4_mapped(), net.broadcast().to_ipv4_mapped()) {
                    (Some(first), Some(last)) => all.v4.push((first.into(), last.into())),
                    _ => all.v6.push((net.network().into(), net.broadcast().into())),
                },
            }
        }
        Self { v4: disjoint(all.v4, u32::checked_add), v6: disjoint(all.v6, u128::checked_add) }
    }

    /// Whether one of them holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, address.into()),
            IpAddr::V6(address) => holds(&self.v6, address.into()),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn disjoint<N: Ord + Copy + From<u8>>(mut all: Vec<(N, N)>, plus: fn(N, N) -> Option<N>) -> Vec<(N, N)> {
    all.sort_unstable();
    let mut out: Vec<(N, N)> = Vec::with_capacity(all.len());
    for (first, last) in all {
        match out.last_mut() {
            // Nothing comes after the last address there is.
            Some((_, end)) if plus(*end, 1.into()).is_none_or(|next| first <= next) => *end = last.max(*end),
            _ => out.push((first, last)),
        }
    }
    out.shrink_to_fit();
    out
}

fn holds<N: Ord + Copy>(stretches: &[(N, N)], address: N) -> bool {
    let after = stretches.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).is_some_and(|at| stretches[at].1 >= address)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(list: &[&str]) -> Networks {
        Networks::new(&list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>())
    }

    #[test]
    fn both_ends_of_a_network_are_in_it() {
        let set =
            networks(&["10.1.0.0/16", "10.2.0.0/16", "192.0.2.7/32", "2001:db8::/32", "255.255.255.255/32"]);
        assert_eq!((set.v4.len(), set.v6.len()), (3, 1), "neighbours are one stretch");
        for (address, held) in [
            ("10.0.255.255", false),
            ("10.1.0.0", true),
            ("10.2.255.255", true),
            ("10.3.0.0", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("255.255.255.255", true),
            ("0.0.0.0", false),
            ("2001:db8::", true),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::", false),
            ("2001:db7:ffff::", false),
            ("::", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), held, "{address}");
        }
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        let set = networks(&["10.0.0.0/8"]);
        assert!(set.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!set.contains("::10.0.0.1".parse().unwrap()));
        let set = networks(&["::ffff:10.0.0.0/104"]);
        assert!(set.contains("10.9.9.9".parse().unwrap()) && !set.contains("11.0.0.0".parse().unwrap()));
        let every = networks(&["::/0"]);
        assert!(
            every.contains("2001:db8::1".parse().unwrap()) && !every.contains("10.0.0.1".parse().unwrap())
        );
        assert!(!every.contains("::ffff:10.0.0.1".parse().unwrap()));
        let every = networks(&["0.0.0.0/0"]);
        assert!(
            every.contains("255.255.255.255".parse().unwrap()) && !every.contains("::1".parse().unwrap())
        );
        assert!(networks(&[]).is_empty() && !networks(&[]).contains("::1".parse().unwrap()));
    }

    /// Addresses that are near each other.
    fn address() -> impl Strategy<Value = IpAddr> {
        let v4 = (0u8..4, 0u8..4, any::<u8>()).prop_map(|(a, b, c)| Ipv4Addr::new(10, a, b, c));
        let edge = proptest::sample::select(vec![[0; 4], [255; 4], [128, 0, 0, 0], [127, 255, 255, 255]]);
        let v6 =
            (0u16..4, 0u16..4, any::<u16>()).prop_map(|(a, b, c)| Ipv6Addr::new(0x2001, a, 0, 0, b, 0, 0, c));
        prop_oneof![
            4 => v4.clone().prop_map(IpAddr::from),
            2 => v4.prop_map(|v4| v4.to_ipv6_mapped().into()),
            1 => edge.prop_map(IpAddr::from),
            3 => v6.prop_map(IpAddr::from),
            1 => proptest::sample::select(vec![0, u128::MAX, 1 << 127]).prop_map(|n| Ipv6Addr::from(n).into()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn the_set_holds_what_some_network_holds(
            list in proptest::collection::vec((address(), any::<u8>()), 0..40),
            asked in proptest::collection::vec(address(), 1..40),
        ) {
            let nets: Vec<IpNet> = list
                .into_iter()
                .map(|(address, prefix)| {
                    // As the configuration reads them.
                    let address = address.to_canonical();
                    let most = if address.is_ipv4() { 33 } else { 129 };
                    IpNet::new(address, prefix % most).unwrap()
                })
                .collect();
            let set = Networks::new(&nets);
            for address in asked {
                let naive = nets.iter().any(|net| net.contains(&address.to_canonical()));
                prop_assert_eq!(set.contains(address), naive, "{} in {:?}", address, &nets);
            }
        }
    }
}

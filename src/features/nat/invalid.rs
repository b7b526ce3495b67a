//! What connection tracking finds in no connection, and none that begins: a TCP segment with FIN or RST after the router was
//! booted, an ICMP error about nothing that it knows. Pure.
//!
//! The kernel asks no chain of type nat about it, so from a VM it would leave with its private address. It is kept in. All
//! else passes one comparison, but that alone, with the chain around it, costs a packet 1 to 4 hundredths
//! (benches/README.md): so it is the file's to choose ([`Config::drop_invalid`]).
//!
//! [`Config::drop_invalid`]: crate::config::Config::drop_invalid

use super::{Inside, rule};
use crate::model::nft::{Chain, ChainKind, Field, Hook, Statement};

/// `NF_IP_PRI_FILTER`, linux/netfilter_ipv4.h.
const FILTER: i32 = 0;

/// Between subnets nothing is translated, and so nothing of it is wrong.
pub(super) fn chain(inside: &Inside) -> Chain {
    let tracked = rule(
        vec![Statement::NotInvalid, Statement::Return],
        "of a connection: translated",
    );
    let outside = [inside.none_of(Field::IpSaddr), vec![Statement::Return]].concat();
    let kept = inside
        .any_of(Field::IpDaddr)
        .into_iter()
        .map(|inside| rule(vec![inside, Statement::Return], "to a private address: as it is"));
    let dropped = rule(
        vec![Statement::Drop],
        "of no connection: does not leave with a private address",
    );
    let mut rules = vec![tracked, rule(outside, "from outside: as it is")];
    rules.extend(kept);
    rules.push(dropped);
    Chain {
        kind: ChainKind::Filter,
        hook: Hook::Forward,
        priority: FILTER,
        rules,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::features;
    use crate::owned::NFT_DROPPING_CHAIN;

    #[test]
    fn where_nothing_is_masqueraded_private_addresses_go_anywhere() {
        let drops = |gateway: &str| {
            let text =
                format!("if_list: [{{ipaddr: 10.0.0.1, prefix: 24, mac: 52:54:84:00:00:01{gateway}}}]\n");
            let config = Config::parse(text.as_bytes()).config.unwrap();
            features::desired(&config)
                .table
                .unwrap()
                .chains
                .contains_key(NFT_DROPPING_CHAIN)
        };
        assert!(drops(", gateway: 10.0.0.2"));
        assert!(!drops(""));
    }
}

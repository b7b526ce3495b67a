use super::*;

fn all() -> Vec<Statement> {
    let key = vec![Field::IpDaddr, Field::L4Proto, Field::ThDport];
    vec![
        Statement::InSet {
            key: vec![Field::IpDaddr],
            set: "a".into(),
            negate: false,
        },
        Statement::InSet {
            key: vec![Field::L4Proto],
            set: "b".into(),
            negate: true,
        },
        Statement::InSubnet {
            field: Field::IpDaddr,
            subnet: "192.168.100.0/24".parse().unwrap(),
            negate: false,
        },
        Statement::InSubnet {
            field: Field::IpSaddr,
            subnet: "10.1.2.3/32".parse().unwrap(),
            negate: true,
        },
        Statement::InSubnet {
            field: Field::IpSaddr,
            subnet: "0.0.0.0/0".parse().unwrap(),
            negate: true,
        },
        Statement::Ports {
            protocol: 17,
            first: 1000,
            last: 60999,
        },
        Statement::Ports {
            protocol: 6,
            first: 0,
            last: u16::MAX,
        },
        Statement::MarkHas(0x0100_0000),
        Statement::MarkSet(0x0100_0000),
        Statement::MarkHas(0),
        Statement::MarkSet(u32::MAX),
        Statement::Dnat(NatTarget::Address([10, 0, 0, 1].into())),
        Statement::Snat(NatTarget::Map {
            key: vec![Field::IpSaddr],
            map: "m".into(),
            port: false,
        }),
        Statement::Snat(NatTarget::Map {
            key: vec![Field::IpSaddrLastByte],
            map: "m".into(),
            port: false,
        }),
        Statement::InSet {
            key: vec![Field::IpSaddrLastByte],
            set: "c".into(),
            negate: false,
        },
        Statement::Dnat(NatTarget::Map {
            key: key.clone(),
            map: "m".into(),
            port: true,
        }),
        Statement::Dnat(NatTarget::Map {
            key,
            map: "m".into(),
            port: false,
        }),
        Statement::Direction { reply: false },
        Statement::Direction { reply: true },
        Statement::InSet {
            key: vec![Field::IpSaddr, Field::L4Proto, Field::ThSport],
            set: "c".into(),
            negate: false,
        },
        Statement::InSet {
            key: vec![Field::CtReplyDaddr],
            set: "c".into(),
            negate: true,
        },
        Statement::InSet {
            key: vec![Field::CtOriginalDaddr],
            set: "c".into(),
            negate: false,
        },
        Statement::DestinationTranslated,
        Statement::SourceTranslated,
        Statement::Established,
        Statement::NotInvalid,
        Statement::FlowAdd("f".into()),
        Statement::ClampMss,
        Statement::Return,
        Statement::Drop,
    ]
}

#[test]
fn a_rule_of_any_statements_reads_back() {
    let compiled: Vec<_> = all().iter().flat_map(compile).collect();
    assert_eq!(decompile(&compiled), all());
    for statement in all() {
        assert_eq!(decompile(&compile(&statement)), [statement]);
    }
}

#[test]
fn what_differs_anywhere_is_foreign() {
    for statement in all() {
        let whole = compile(&statement);
        for cut in 1..whole.len() {
            assert!(
                matches!(decompile(&whole[..cut])[..], [Statement::Foreign(_)]),
                "{statement}"
            );
        }
        for position in 0..whole.len() {
            let mut other = whole.clone();
            other.insert(position, Expression::Other("counter".into()));
            let read = decompile(&other);
            assert!(
                matches!(read.last(), Some(Statement::Foreign(_))),
                "{statement}: {read:?}"
            );
        }
    }
    // The bits that are set are not those that are kept.
    let mut other = compile(&Statement::MarkSet(1));
    other[1] = Expression::Bitwise {
        from: 1,
        to: 1,
        mask: 0,
        xor: 1,
    };
    assert!(matches!(decompile(&other)[..], [Statement::Foreign(_)]));
}

#[test]
fn a_foreign_rule_says_what_it_does() {
    let expressions = [
        compile(&Statement::Return),
        vec![Expression::Other("counter".into())],
        load(Field::IpSaddr, 0),
    ];
    assert_eq!(
        decompile(&expressions.concat()),
        [
            Statement::Return,
            Statement::Foreign("counter; payload load 4b @ network header + 12 => reg 1".into())
        ]
    );
}

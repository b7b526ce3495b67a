use super::super::message::{Content, answers};
use super::*;

use FieldType::{InetProto, InetService, Ipv4Addr};

/// An element as a range of tuples, with its value.
type Case = ([u32; 3], [u32; 3], [u32; 3]);

fn set(key: &[FieldType], data: &[FieldType], interval: bool, elements: &[Case]) -> Set {
    let mut set = Set::new(key, data, interval);
    for (first, last, value) in elements {
        set.elements.insert(
            Element {
                first: Tuple(*first),
                last: Tuple(*last),
            },
            Tuple(*value),
        );
    }
    set
}

fn write(set: &Set, direction: Direction) -> Messages {
    let mut messages = Messages::default();
    let mut elements = set
        .elements
        .iter()
        .map(|(element, value)| (*element, *value))
        .peekable();
    while elements.peek().is_some() {
        put(
            &mut messages,
            1,
            direction,
            ("name", set),
            &mut elements,
            &Starts::default(),
        );
    }
    messages
}

fn read(set: &Set, bytes: &[u8]) -> Told {
    let mut read = Read::default();
    for answer in answers(bytes) {
        let Ok(Content::Object(_, message)) = answer.unwrap().content() else {
            panic!("an object")
        };
        read.message(set, message).unwrap();
    }
    let told = read.finish(set, None);
    if let Told::All(elements) = &told {
        assert_eq!(read.finish(set, Some(elements)), told);
        // What was written counts for nothing where something else is told.
        for (element, value) in elements.iter().take(2) {
            let mut other = elements.clone();
            other.insert(*element, Tuple([!value.0[0], 0, 0]));
            assert_eq!(read.finish(set, Some(&other)), told);
            other.remove(element);
            assert_eq!(read.finish(set, Some(&other)), told);
        }
    }
    told
}

/// Flags, key, last key, data.
type Written = (u32, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

/// The entries of the only message.
fn entries(messages: &Messages) -> Vec<Written> {
    let answer = answers(messages.bytes()).next().unwrap().unwrap();
    let Ok(Content::Object(_, message)) = answer.content() else {
        panic!("an object")
    };
    let message = Attributes::<4>::read(message).unwrap();
    assert_eq!(message.text(element::TABLE).as_deref(), Some(NFT_TABLE));
    assert_eq!(message.text(element::SET).as_deref(), Some("name"));
    attributes(message.get(element::ELEMENTS).unwrap())
        .map(|entry| {
            let entry = Attributes::<12>::read(entry.unwrap().1).unwrap();
            let data = |kind| {
                let data = Attributes::<2>::read(entry.get(kind)?).unwrap();
                data.get(element::DATA_VALUE).map(<[u8]>::to_vec)
            };
            let key = data(element::KEY).unwrap();
            (
                entry.number(element::FLAGS).unwrap_or(0),
                key,
                data(element::KEY_END),
                data(element::DATA),
            )
        })
        .collect()
}

#[test]
fn a_plain_element_is_a_key_and_its_value() {
    let map = set(
        &[Ipv4Addr],
        &[Ipv4Addr, InetService],
        false,
        &[([1, 0, 0], [1, 0, 0], [2, 80, 0])],
    );
    let key = vec![0, 0, 0, 1];
    let value = vec![0, 0, 0, 2, 0, 80, 0, 0];
    assert_eq!(
        entries(&write(&map, Direction::Add)),
        [(0, key.clone(), None, Some(value))]
    );
    assert_eq!(entries(&write(&map, Direction::Delete)), [(0, key, None, None)]);
}

#[test]
fn a_range_of_one_field_is_a_start_and_an_end_but_for_the_last() {
    let ports = |first, last| ([first, 0, 0], [last, 0, 0], [0; 3]);
    let ranges = set(
        &[InetService],
        &[],
        true,
        &[ports(0, 9), ports(10, 10), ports(300, 65_535)],
    );
    let expected = [
        (0, [0, 0]),
        (1, [0, 10]),
        (0, [0, 10]),
        (1, [0, 11]),
        (0, [1, 44]),
    ];
    let expected = expected.map(|(flags, key): (u32, [u8; 2])| (flags, key.to_vec(), None, None));
    assert_eq!(entries(&write(&ranges, Direction::Add)), expected);
    assert_eq!(entries(&write(&ranges, Direction::Delete)), expected);
}

#[test]
fn a_range_of_concatenations_is_one_element() {
    let ranges = set(
        &[InetProto, InetService],
        &[],
        true,
        &[([6, 80, 0], [6, 90, 0], [0; 3])],
    );
    let keys = (vec![6, 0, 0, 0, 0, 80, 0, 0], vec![6, 0, 0, 0, 0, 90, 0, 0]);
    assert_eq!(
        entries(&write(&ranges, Direction::Delete)),
        [(0, keys.0, Some(keys.1), None)]
    );
}

#[test]
fn what_is_written_is_read_back_in_any_number_of_messages() {
    let address = |n: u32| ([n, 0, 0], [n, 0, 0], [n + 1, 0, 0]);
    let range = |n: u32| ([n * 4, 0, 0], [n * 4 + 3, 0, 0], [n, 0, 0]);
    let forward = |n: u32| ([n, 6, 80], [n, 6, 90], [n, 8080, 0]);
    let sets = [
        set(
            &[Ipv4Addr],
            &[Ipv4Addr],
            false,
            &(0..9_000).map(address).collect::<Vec<_>>(),
        ),
        set(
            &[Ipv4Addr],
            &[Ipv4Addr],
            true,
            &(0..9_000).map(range).collect::<Vec<_>>(),
        ),
        set(
            &[Ipv4Addr, InetProto, InetService],
            &[Ipv4Addr, InetService],
            true,
            &(0..9_000).map(forward).collect::<Vec<_>>(),
        ),
        set(&[Ipv4Addr], &[], true, &[([0; 3], [u32::MAX, 0, 0], [0; 3])]),
    ];
    for set in sets {
        assert_eq!(
            read(&set, write(&set, Direction::Add).bytes()),
            Told::All(set.elements.clone())
        );
    }
}

#[test]
fn what_is_told_twice_is_no_whole_look() {
    for interval in [false, true] {
        let elements = [
            ([1, 0, 0], [1, 0, 0], [2, 0, 0]),
            ([3, 0, 0], [3, 0, 0], [4, 0, 0]),
        ];
        let map = set(&[Ipv4Addr], &[Ipv4Addr], interval, &elements);
        let mut twice = write(&map, Direction::Add).bytes().to_vec();
        // With another value, as when it was changed in between.
        let changed = set(
            &[Ipv4Addr],
            &[Ipv4Addr],
            interval,
            &[([1, 0, 0], [1, 0, 0], [9, 0, 0])],
        );
        twice.extend_from_slice(write(&changed, Direction::Add).bytes());
        assert_eq!(read(&map, &twice), Told::Twice);
    }
}

/// Entries of an interval set of addresses (flags and key), and what they are.
#[test]
fn irregular_ends_are_foreign() {
    let ranges = set(&[Ipv4Addr], &[], true, &[]);
    let cases: [(&[(u32, u32)], bool); 7] = [
        (&[], true),
        (&[(1, 0)], true),
        (&[(1, 0), (0, 0), (1, 5)], true),
        (&[(0, 7), (1, 9), (1, 0)], true),
        (&[(0, 5), (0, 9), (1, 11)], false),
        (&[(1, 5)], false),
        (&[(2, 5)], false),
    ];
    for (entries, is_known) in cases {
        let mut messages = Messages::default();
        messages.message(libc::NFT_MSG_NEWSETELEM, 0, 1, |message| {
            message.nested(element::ELEMENTS, |list| {
                for (flags, key) in entries {
                    list.nested(LIST_ELEMENT, |entry| {
                        entry.number(element::FLAGS, *flags);
                        put_data(entry, element::KEY, &ranges.key, Tuple([*key, 0, 0]));
                    });
                }
            });
        });
        let told = read(&ranges, messages.bytes());
        assert_eq!(matches!(told, Told::All(_)), is_known, "{entries:?}");
        assert_eq!(told == Told::Foreign, !is_known, "{entries:?}");
    }
}

use super::super::netfilter::message::{Content, answers};
use super::*;

fn tuple_of(
    message: &mut Messages,
    kind: u16,
    addresses: [[u8; 4]; 2],
    protocol: u8,
    ports: Option<[u16; 2]>,
) {
    message.nested(kind, |message| {
        message.nested(tuple::IP, |message| {
            message.attribute(tuple::IP_SOURCE, &addresses[0]);
            message.attribute(tuple::IP_DESTINATION, &addresses[1]);
        });
        message.nested(tuple::PROTOCOL, |message| {
            message.attribute(tuple::PROTOCOL_NUMBER, &[protocol]);
            for (kind, port) in [2, 3].into_iter().zip(ports.into_iter().flatten()) {
                message.attribute(kind, &port.to_be_bytes());
            }
        });
    });
}

fn message(write: impl FnOnce(&mut Messages)) -> Messages {
    let mut messages = Messages::default();
    messages.message_to(TO.number, GET, 0, 1, write);
    messages
}

fn read(messages: &Messages) -> Option<Flow> {
    let Ok(Content::Object(_, attributes)) = answers(messages.bytes()).next().unwrap().unwrap().content()
    else {
        panic!("an object")
    };
    Entry::read(attributes).unwrap().map(|entry| entry.flow)
}

const CLIENT: [u8; 4] = [198, 51, 100, 10];
const EIP: [u8; 4] = [10, 90, 2, 250];
const VM: [u8; 4] = [192, 168, 100, 190];

#[test]
fn a_flow_is_its_first_packet_and_what_its_answers_say_of_it() {
    let both = |protocol, ports: Option<[u16; 2]>, back| {
        read(&message(|message| {
            tuple_of(message, entry::TUPLE_ORIGINAL, [CLIENT, EIP], protocol, ports);
            tuple_of(message, entry::TUPLE_REPLY, [VM, CLIENT], protocol, back);
            message.number(entry::ID, 7);
        }))
    };
    let flow = both(6, Some([40_000, 80]), Some([8080, 40_000])).unwrap();
    assert_eq!(
        (
            flow.original.source,
            flow.original.destination,
            flow.original.destination_port
        ),
        (CLIENT.into(), EIP.into(), Some(80))
    );
    assert_eq!(
        (
            flow.translated.source,
            flow.translated.destination,
            flow.translated.destination_port
        ),
        (CLIENT.into(), VM.into(), Some(8080))
    );
    for protocol in [1, 47] {
        let flow = both(protocol, Some([1, 2]), Some([3, 4])).unwrap();
        assert_eq!(
            (flow.original.destination_port, flow.translated.destination_port),
            (None, None)
        );
        assert_eq!(
            (flow.original.protocol, flow.translated.destination),
            (protocol, VM.into())
        );
    }
}

#[test]
fn what_is_not_whole_is_no_entry_and_so_can_never_be_deleted() {
    let parts = |parts: usize| {
        message(|message| {
            message.nested(entry::TUPLE_ORIGINAL, |message| {
                message.nested(tuple::IP, |message| {
                    if parts > 0 {
                        message.attribute(tuple::IP_SOURCE, &CLIENT);
                    }
                    if parts > 1 {
                        message.attribute(tuple::IP_DESTINATION, &EIP);
                    }
                });
                if parts > 2 {
                    message.nested(tuple::PROTOCOL, |message| {
                        if parts > 3 {
                            message.attribute(tuple::PROTOCOL_NUMBER, &[6]);
                        }
                    });
                }
            });
            tuple_of(message, entry::TUPLE_REPLY, [VM, CLIENT], 6, Some([80, 1]));
        })
    };
    assert_eq!(
        [0, 1, 2, 3, 4].map(|count| read(&parts(count)).is_some()),
        [false, false, false, false, true]
    );
    // Nor one without any tuple, nor one of IPv6 addresses.
    assert_eq!(read(&message(|message| message.number(entry::ID, 7))), None);
    let six = message(|message| {
        for kind in [entry::TUPLE_ORIGINAL, entry::TUPLE_REPLY] {
            message.nested(kind, |message| {
                message.nested(tuple::IP, |message| {
                    message.attribute(3, &[0; 16]);
                    message.attribute(4, &[0; 16]);
                });
                message.nested(tuple::PROTOCOL, |message| message.attribute(1, &[6]));
            });
        }
    });
    assert_eq!(read(&six), None);
}

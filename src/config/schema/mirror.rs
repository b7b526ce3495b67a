//! The part of the schema that is about `mirror_list`: its keys mean other things than the same ones of other lists.

use serde_json::{Value, json};

use super::super::mirror::Mirror;
use super::super::mirrors::{
    ERSPAN, FILTER, GRE, MIRROR, MOST_INDEX, MOST_SESSION, MOST_SNAPLEN, NIC, SOURCE, TARGET, VLAN,
};
use super::{address, mac, number, port};

/// An entry of `mirror_list`.
pub(super) fn entry() -> Value {
    let name = format!("^[0-9A-Za-z][0-9A-Za-z._-]{{0,{}}}$", Mirror::LONGEST_NAME - 1);
    let name = json!([
        { "type": "string", "pattern": name },
        // Such names without quotes.
        { "type": "integer", "minimum": 0, "maximum": 9_999_999_999_999_999_u64 },
        { "type": "boolean" },
    ]);
    let mut snaplen = number(Mirror::LEAST_SNAPLEN.into(), MOST_SNAPLEN.into());
    if let Some(kinds) = snaplen.as_array_mut() {
        kinds.insert(0, json!({ "enum": [0, "0"] }));
    }
    let to = json!([{ "type": "array", "items": target(), "minItems": 1, "maxItems": Mirror::MOST_TARGETS }]);
    mapping(
        MIRROR,
        &["name", "source", "to"],
        &[
            (
                "name",
                "What the mirror is called, at most 16 letters, digits, dots, hyphens and underscores",
                name,
            ),
            ("source", "Whose packets are copied", json!([source()])),
            (
                "select",
                "What the source sends (src), what it is sent (dst), or both (the default); from-lport is src, to-lport is dst",
                json!([{ "enum": ["both", "src", "dst", "from-lport", "to-lport"] }]),
            ),
            (
                "filter",
                "Which packets are copied; without it, all",
                json!([filter()]),
            ),
            ("to", "Where copies go, one or several targets", to),
            (
                "snaplen",
                "How many bytes of a packet are kept, 82 to 65549; 0 (the default): all. For erspan targets only",
                snaplen,
            ),
            (
                "sample",
                "One packet in so many is copied, by chance; 1 (the default): all",
                number(1, u32::MAX.into()),
            ),
        ],
    )
}

/// What a key takes that only mirrors have.
pub(super) fn property(key: &str) -> Option<Value> {
    fn find(value: &Value, key: &str) -> Option<Value> {
        match value {
            Value::Object(map) => {
                let own = map.get("properties").and_then(|properties| properties.get(key));
                let described = own.filter(|own| own.get("description").is_some()).cloned();
                described.or_else(|| map.values().find_map(|one| find(one, key)))
            }
            Value::Array(items) => items.iter().find_map(|one| find(one, key)),
            _ => None,
        }
    }
    find(&entry(), key)
}

fn source() -> Value {
    let all = json!([{ "enum": [true, "true"] }]);
    one_of(
        SOURCE,
        mapping(
            SOURCE,
            &[],
            &[
                (
                    "mac",
                    "All that comes in and leaves by this NIC of if_list",
                    mac(),
                ),
                (
                    "subnet",
                    "The packets of addresses of this subnet, or part of one",
                    network(),
                ),
                ("vm-ip", "The packets of this VM", address()),
                (
                    "all",
                    "true: all that comes in and leaves by the NICs of subnets",
                    all,
                ),
            ],
        ),
    )
}

fn filter() -> Value {
    let protocol = json!([
        { "enum": ["tcp", "udp", "icmp"] },
        { "type": "string", "pattern": "^([Tt][Cc][Pp]|[Uu][Dd][Pp]|[Ii][Cc][Mm][Pp])$" },
    ]);
    let with_ports = json!({ "type": "string", "pattern": "^([Tt][Cc][Pp]|[Uu][Dd][Pp])$" });
    let mut filter = mapping(
        FILTER,
        &[],
        &[
            ("protocol", "tcp, udp or icmp", protocol),
            (
                "port",
                "The port that they come from or go to; with `protocol` tcp or udp",
                port(),
            ),
            ("cidr", "The subnet that they come from or go to", network()),
        ],
    );
    filter["if"] = json!({ "required": ["port"], "properties": { "port": { "not": { "type": "null" } } } });
    filter["then"] = json!({ "required": ["protocol"], "properties": { "protocol": with_ports } });
    filter
}

fn target() -> Value {
    let nic = mapping(NIC, &["mac"], &[("mac", "The NIC, which is nothing else", mac())]);
    let gre = mapping(
        GRE,
        &["remote"],
        &[
            ("remote", "The collector", address()),
            (
                "key",
                "What the collector tells mirrors apart by",
                number(0, u32::MAX.into()),
            ),
        ],
    );
    let version = number(1, 2);
    let erspan = mapping(
        ERSPAN,
        &["remote", "index"],
        &[
            ("remote", "The collector", address()),
            (
                "index",
                "The index in the header of version 1, 0 to 1048575, and the session unless that is given",
                number(0, MOST_INDEX.into()),
            ),
            (
                "session",
                "What the collector tells mirrors apart by, 0 to 1023",
                number(0, MOST_SESSION.into()),
            ),
            ("version", "1 (the default) or 2", version),
        ],
    );
    let vlan = mapping(
        VLAN,
        &["mac", "id"],
        &[
            ("mac", "The NIC towards the switch", mac()),
            ("id", "The number of the VLAN, 1 to 4094", number(1, 4_094)),
        ],
    );
    one_of(
        TARGET,
        mapping(
            TARGET,
            &[],
            &[
                ("nic", "Out of a NIC, as they are (SPAN)", json!([nic])),
                ("gre", "Into a GRE tunnel", json!([gre])),
                ("erspan", "Into an ERSPAN tunnel", json!([erspan])),
                ("vlan", "Out of a NIC with a VLAN tag (RSPAN)", json!([vlan])),
            ],
        ),
    )
}

/// A mapping of these keys and no others. A key without a value is as good as none.
fn mapping(keys: &[&str], required: &[&str], properties: &[(&str, &str, Value)]) -> Value {
    let property = |key: &&str| {
        let (_, description, kinds) = properties.iter().find(|(name, ..)| name == key)?;
        let mut kinds = kinds.clone();
        if !required.contains(key)
            && let Some(kinds) = kinds.as_array_mut()
        {
            kinds.push(json!({ "type": "null" }));
        }
        let property = json!({ "description": description, "anyOf": kinds });
        Some(((*key).to_owned(), property))
    };
    let properties: serde_json::Map<String, Value> = keys.iter().filter_map(property).collect();
    let mut mapping = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        mapping["required"] = json!(required);
    }
    mapping
}

/// The same with exactly one of its keys.
fn one_of(keys: &[&str], mut mapping: Value) -> Value {
    let alone = |key: &&str| {
        let others: serde_json::Map<String, Value> = keys
            .iter()
            .filter(|other| *other != key)
            .map(|other| ((*other).to_owned(), json!({ "type": "null" })))
            .collect();
        let mut properties = others;
        properties.insert((*key).to_owned(), json!({ "not": { "type": "null" } }));
        json!({ "required": [key], "properties": properties })
    };
    mapping["oneOf"] = keys.iter().map(alone).collect();
    mapping
}

/// A subnet, or one address.
fn network() -> Value {
    let octet = super::OCTET;
    let any = format!("{octet}(\\.{octet}){{3}}");
    json!([{ "type": "string", "pattern": format!("^{any}(/([0-9]|[12][0-9]|3[0-2]))?$") }])
}

//! The file's JSON Schema (draft 2020-12), for editors: which keys there are, what they mean, and which values they take.
//!
//! Its keys are the reader's own lists of keys. What a value may be stands here once more, in the language of schemas; the
//! tests hold both side by side. What entries mean to each other (overlaps, a gateway that is not on-link) no schema can
//! say: `kylin-vr check` does.

use serde_json::{Map, Value, json};

use super::Lease;
use super::check::{EIP, INTERFACE, ROOT};
use super::dhcp::{DHCP, LONGEST_DOMAIN, MOST_SERVERS};
use super::forwards::FORWARD;
use super::overlay::{HIGHEST_VNI, VXLAN};
use super::routes::{HIGHEST_METRIC, ROUTE};
use super::vms::{LONGEST_NAME, VM};

mod mirror;
#[cfg(test)]
mod tests;

/// Where the packages put it: the first line of the examples names it.
pub const INSTALLED: &str = "/usr/share/kylin-vr/kylin-vr.schema.json";

const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
/// The first octet of a host's address: not 0, 127, nor from 224 on.
const FIRST_OCTET: &str = "([1-9]|[1-9][0-9]|1[01][0-9]|12[0-689]|1[3-9][0-9]|2[01][0-9]|22[0-3])";
const HEX: &str = "[0-9A-Fa-f]";

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut root = object(ROOT, &[]);
    // A file without a word is valid.
    root["type"] = json!(["object", "null"]);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["$id"] = json!(format!("file://{INSTALLED}"));
    root["title"] = json!("kylin-vr.yaml");
    root["description"] =
        json!("What a virtual router does: its interfaces, elastic IPs and forwarded ports");
    root
}

/// A mapping of these keys and no others.
fn object(keys: &[&str], required: &[&str]) -> Value {
    let property = |key: &&str| {
        let mut property = property(key)?;
        if !required.contains(key)
            && let Some(kinds) = property.get_mut("anyOf").and_then(Value::as_array_mut)
        {
            // A key without a value is as good as none.
            kinds.push(json!({ "type": "null" }));
        }
        Some(((*key).to_owned(), property))
    };
    let properties: Map<String, Value> = keys.iter().filter_map(property).collect();
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// What a key takes; `None`: a key that this does not know, which a test finds.
fn property(key: &str) -> Option<Value> {
    let described = |description: &str, kinds: Value| json!({ "description": description, "anyOf": kinds });
    let list = |description: &str, items: Value| {
        described(description, json!([{ "type": "array", "items": items }]))
    };
    Some(match key {
        "if_list" => {
            let mut interface = object(INTERFACE, &["ipaddr", "prefix"]);
            let is = |key: &str, other: &str| {
                let there = json!({ "not": { "type": "null" } });
                json!({ "required": [key], "properties": { key: there, other: { "type": "null" } } })
            };
            interface["oneOf"] = json!([is("mac", "vxlan"), is("vxlan", "mac")]);
            list(
                "The router's NICs: the one with a gateway faces outside, every other one is a subnet's gateway; and its overlay subnets",
                interface,
            )
        }
        "eip_list" => {
            let eip = object(EIP, &["eip", "vm-ip"]);
            list(
                "Elastic IPs: all of an external address, in both directions, is one VM's",
                eip,
            )
        }
        "port_forward_list" => list(
            "Forwarded ports: single ports of an external address are a VM's",
            forward(),
        ),
        "ipv6" => described(
            "false (the default) turns IPv6 off, true leaves it as it is",
            json!([{ "type": "boolean" }, { "enum": ["true", "false"] }]),
        ),
        "counters" => described(
            "true counts packets, bytes and connections by elastic IP and by forward, false nothing; by default up to 1,024 of these are counted",
            json!([{ "type": "boolean" }, { "enum": ["true", "false"] }]),
        ),
        "drop_invalid" => described(
            "true keeps what is of no connection from leaving with a private address, false lets it; by default true up to 1,024 elastic IPs and forwards",
            json!([{ "type": "boolean" }, { "enum": ["true", "false"] }]),
        ),
        "conntrack" => described(
            "delete (the default) ends the flows whose translation changes, keep lets them go on",
            json!([{ "enum": ["delete", "keep"] }]),
        ),
        "conntrack_max" => {
            let mut kinds = number(1_024, i32::MAX as u64);
            if let Some(kinds) = kinds.as_array_mut() {
                kinds.insert(0, json!({ "enum": ["auto", "keep"] }));
            }
            described(
                "How many flows are tracked: auto (the default, by the memory), a number, or keep what is set",
                kinds,
            )
        }
        "fast_path" => described(
            "Whether established flows go past the rules: auto (the default) where the kernel can, on: it must, off",
            json!([{ "enum": ["auto", "on", "off"] }]),
        ),
        "snat_pool" => list(
            "What VMs without an elastic IP are seen as, in place of the router's own address: addresses and ranges",
            json!({ "type": "string", "pattern": format!("^{ADDRESS}( *- *{ADDRESS})?$", ADDRESS = host()) }),
        ),
        "route_list" => list(
            "Networks that other routers of the configured subnets lead to",
            object(ROUTE, &["to", "via"]),
        ),
        "to" => described(
            "The network that the route leads to, as in 172.30.0.0/16, or one address",
            json!([{ "type": "string", "pattern": format!("^{}(/([1-9]|[12][0-9]|3[0-2]))?$", host()) }]),
        ),
        "via" => described(
            "The next hop, an address in the subnet of an interface",
            address(),
        ),
        "metric" => described(
            "Of several routes to a network the one with the lowest metric is taken, 0 to 4294967294",
            number(0, HIGHEST_METRIC.into()),
        ),
        "inside" => described(
            "true: the network counts as one of the VPC's own, for translation and for what else looks at these",
            json!([{ "type": "boolean" }, { "enum": ["true", "false"] }]),
        ),
        "mirror_list" => list("Packets that are copied to analysers", mirror::entry()),
        "generation" => described(
            "A number that whoever pushes counts up: an older one than that in force is refused",
            number(0, u64::MAX),
        ),
        "ipaddr" => described("The router's address on this NIC", address()),
        "prefix" => described("How long the subnet's prefix is, 0 to 32", number(0, 32)),
        "mac" => described("The NIC's hardware address, as in 52:54:84:00:08:45", mac()),
        "gateway" => described(
            "The next hop to everywhere: the interface that has one is the external one",
            address(),
        ),
        "dhcp" => described(
            "What the subnet's VMs are told by DHCP; without it nobody is answered there",
            json!([object(DHCP, &[])]),
        ),
        "range" => described(
            "The first and the last address that any client may get; without it only the VMs of vm_list get one",
            json!([{ "type": "array", "items": { "anyOf": address() }, "minItems": 2, "maxItems": 2 }]),
        ),
        "dns" => described(
            "The DNS servers that clients are told of",
            json!([{ "type": "array", "items": { "anyOf": address() }, "maxItems": MOST_SERVERS }]),
        ),
        "lease" => described(
            "How long an address is given for: 12h (the default), 30m, 3600 (seconds), from 2m on, or infinite",
            json!([
                { "type": "integer", "minimum": Lease::LEAST, "maximum": u32::MAX - 1 },
                { "type": "string", "pattern": lease() },
            ]),
        ),
        "domain" => described(
            "The domain that clients are told of",
            json!([
                { "type": "string", "pattern": domain(), "maxLength": LONGEST_DOMAIN },
                // Such names without quotes.
                { "type": "number", "minimum": 0 },
                { "type": "boolean" },
            ]),
        ),
        "vm_list" => list(
            "The subnet's VMs that are known, with their hardware addresses",
            object(VM, &["vm-ip", "mac"]),
        ),
        "vxlan" => described(
            "In place of mac: the subnet arrives by VXLAN from hypervisors, not by a NIC",
            json!([object(VXLAN, &["vni"])]),
        ),
        "vni" => described(
            "The subnet's number, 1 to 16777215",
            number(1, HIGHEST_VNI.into()),
        ),
        "local" => described(
            "The router's address that hypervisors send to: by default the external one",
            address(),
        ),
        "peers" => list(
            "The hypervisors that get broadcast, and what is for no VM that is listed",
            json!({ "type": "string", "pattern": format!("^{}$", host()) }),
        ),
        "gateway-mac" => described("The router's hardware address, as the VMs see it", mac()),
        "host" => described("The hypervisor that the VM is on, by its own address", address()),
        "name" => described(
            "What the VM is called: a host's name without its domain",
            json!([
                {
                    "type": "string",
                    "pattern": format!("^[0-9A-Za-z]([0-9A-Za-z-]{{0,{}}}[0-9A-Za-z])?$", LONGEST_NAME - 2),
                },
                // Such names without quotes.
                { "type": "integer", "minimum": 0 },
                { "type": "boolean" },
            ]),
        ),
        "eip" => described("The address outside", address()),
        "vm-ip" => described("The VM's own address", address()),
        "protocal" | "protocol" => {
            described("tcp or udp (both spellings of the key mean the same)", protocol())
        }
        "port" => described(
            "The port outside, or the first one of a range; of an overlay subnet, the UDP port of its packets",
            port(),
        ),
        "end_port" => described("The last port of a range", port()),
        "vm-port" => described(
            "The VM's port, or the first one: the range goes on from there, port by port",
            port(),
        ),
        _ => return mirror::property(key),
    })
}

/// An entry of `port_forward_list`, with exactly one spelling of the protocol's key.
fn forward() -> Value {
    let mut forward = object(FORWARD, &["eip", "port", "vm-port", "vm-ip"]);
    let spelt = |key: &str, other: &str| json!({ "required": [key], "properties": { key: { "anyOf": protocol() }, other: { "type": "null" } } });
    forward["oneOf"] = json!([spelt("protocal", "protocol"), spelt("protocol", "protocal")]);
    forward
}

/// A pattern of a lease's time: in each unit from two minutes on, and below 2^32 - 1 seconds.
fn lease() -> String {
    let most = u64::from(u32::MAX - 1);
    let unit = |unit: &str, seconds: u64| {
        let least = u64::from(Lease::LEAST).div_ceil(seconds);
        format!("({}){unit}", between(least, most / seconds))
    };
    let units = [
        unit("s?", 1),
        unit("m", 60),
        unit("h", 3_600),
        unit("d", 86_400),
        unit("w", 604_800),
    ];
    format!("^(infinite|{})$", units.join("|"))
}

/// A pattern of the numbers from 1, 2 or 120 on to a higher one.
fn between(least: u64, most: u64) -> String {
    let all = up_to(&most.to_string());
    match least {
        1 => all,
        2 => format!("(?!1(?![0-9]))({all})"),
        _ => format!("(?!([1-9]|[1-9][0-9]|1[01][0-9])(?![0-9]))({all})"),
    }
}

fn domain() -> String {
    const LABEL: &str = "[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?";
    format!("^{LABEL}(\\.{LABEL})*$")
}

fn protocol() -> Value {
    json!([{ "enum": ["tcp", "udp"] }, { "type": "string", "pattern": "^([Tt][Cc][Pp]|[Uu][Dd][Pp])$" }])
}

/// The address of a NIC.
fn mac() -> Value {
    json!([{
        "type": "string",
        "pattern": format!("^{HEX}[02468ACEace]((:{HEX}{{2}}){{5}}|(-{HEX}{{2}}){{5}})$"),
        "not": { "pattern": "^00([:-]00){5}$" },
    }])
}

fn address() -> Value {
    json!([{ "type": "string", "pattern": format!("^{}$", host()) }])
}

/// A pattern of a host's address.
fn host() -> String {
    format!("{FIRST_OCTET}(\\.{OCTET}){{3}}")
}

fn port() -> Value {
    number(1, u16::MAX.into())
}

/// A whole number, quoted or not.
fn number(least: u64, most: u64) -> Value {
    let zero = if least == 0 { "0|" } else { "" };
    json!([
        { "type": "integer", "minimum": least, "maximum": most },
        { "type": "string", "pattern": format!("^({zero}{})$", up_to(&most.to_string())) },
    ])
}

/// A regular expression of the numbers from 1 to this one, without leading zeros: those with fewer digits, and by how many
/// digits the others have in common with it.
fn up_to(most: &str) -> String {
    let mut ways = Vec::new();
    if most.len() > 1 {
        ways.push(format!("[1-9][0-9]{{0,{}}}", most.len() - 2));
    }
    for (index, digit) in most.bytes().enumerate() {
        let (lowest, common, rest) = (
            if index == 0 { b'1' } else { b'0' },
            &most[..index],
            most.len() - index - 1,
        );
        if digit > lowest {
            ways.push(format!(
                "{common}[{}-{}][0-9]{{{rest}}}",
                char::from(lowest),
                char::from(digit - 1)
            ));
        }
    }
    ways.push(most.to_owned());
    ways.join("|")
}

//! What is written of an entry: its keys, in the order of the documents, without what says the default.

use std::borrow::Cow;

use super::super::{Mirror, MirrorFilter, MirrorSelect, MirrorSource, MirrorTarget, Vxlan};
use super::Entry;
use super::value::Value;

impl Entry {
    /// Its keys, each with its value.
    pub(super) fn fields(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Interface(one) => {
                let mut fields = vec![
                    ("ipaddr", Value::text(one.address.addr())),
                    ("prefix", Value::number(one.address.prefix_len())),
                ];
                fields.push(match &one.vxlan {
                    Some(vxlan) => ("vxlan", Value::Map(overlay(vxlan))),
                    None => ("mac", Value::text(one.mac)),
                });
                fields.extend(one.gateway.map(|gateway| ("gateway", Value::text(gateway))));
                fields
            }
            Self::Eip(one) => vec![("eip", Value::text(one.eip)), ("vm-ip", Value::text(one.vm))],
            Self::Forward(one) => {
                let mut fields = vec![
                    ("eip", Value::text(one.eip)),
                    ("protocal", Value::text(one.protocol)),
                    ("port", Value::number(one.port)),
                ];
                let end_port = (one.end_port != one.port).then(|| ("end_port", Value::number(one.end_port)));
                fields.extend(end_port);
                fields.push(("vm-port", Value::number(one.vm_port)));
                fields.push(("vm-ip", Value::text(one.vm)));
                fields
            }
            Self::Mirror(one) => of_mirror(one),
        }
    }
}

/// The keys of an interface's `vxlan`, without what it need not say.
fn overlay(vxlan: &Vxlan) -> Vec<(Cow<'static, str>, Value)> {
    let default = Vxlan::with_defaults(vxlan.vni);
    let differs = |is_other: fn(&Vxlan, &Vxlan) -> bool| {
        default.as_ref().is_none_or(|default| is_other(default, vxlan))
    };
    let mut fields = vec![("vni".into(), Value::number(vxlan.vni))];
    fields.extend(vxlan.local.map(|local| ("local".into(), Value::text(local))));
    if !vxlan.peers.is_empty() {
        fields.push((
            "peers".into(),
            Value::List(vxlan.peers.iter().map(Value::text).collect()),
        ));
    }
    fields.extend(
        differs(|one, other| one.port != other.port).then(|| ("port".into(), Value::number(vxlan.port))),
    );
    fields.extend(
        differs(|one, other| one.mac != other.mac).then(|| ("gateway-mac".into(), Value::text(vxlan.mac))),
    );
    fields
}

fn of_mirror(mirror: &Mirror) -> Vec<(&'static str, Value)> {
    let source = match mirror.source {
        MirrorSource::Mac(mac) => Value::pair("mac", Value::text(mac)),
        MirrorSource::Subnet(net) => Value::pair("subnet", Value::text(net)),
        MirrorSource::VmIp(vm) => Value::pair("vm-ip", Value::text(vm)),
        MirrorSource::All => Value::pair("all", Value::True),
    };
    let mut fields = vec![("name", Value::text(&mirror.name)), ("source", source)];
    if mirror.select != MirrorSelect::default() {
        fields.push(("select", Value::text(mirror.select)));
    }
    let MirrorFilter { protocol, port, cidr } = mirror.filter;
    let mut filter = Vec::new();
    filter.extend(protocol.map(|protocol| ("protocol".into(), Value::text(protocol))));
    filter.extend(port.map(|port| ("port".into(), Value::number(port))));
    filter.extend(cidr.map(|cidr| ("cidr".into(), Value::text(cidr))));
    if !filter.is_empty() {
        fields.push(("filter", Value::Map(filter)));
    }
    fields.push(("to", Value::List(mirror.to.iter().map(of_target).collect())));
    if mirror.snaplen > 0 {
        fields.push(("snaplen", Value::number(mirror.snaplen)));
    }
    if mirror.sample > 1 {
        fields.push(("sample", Value::number(mirror.sample)));
    }
    fields
}

fn of_target(target: &MirrorTarget) -> Value {
    let (kind, pairs) = match *target {
        MirrorTarget::Nic { mac } => ("nic", vec![("mac".into(), Value::text(mac))]),
        MirrorTarget::Gre { remote, key } => {
            let mut pairs = vec![("remote".into(), Value::text(remote))];
            pairs.extend(key.map(|key| ("key".into(), Value::number(key))));
            ("gre", pairs)
        }
        MirrorTarget::Erspan {
            remote,
            session,
            index,
            version,
        } => {
            let mut pairs = vec![
                ("remote".into(), Value::text(remote)),
                ("index".into(), Value::number(index)),
            ];
            if session != index {
                pairs.push(("session".into(), Value::number(session)));
            }
            if version != 1 {
                pairs.push(("version".into(), Value::number(version)));
            }
            ("erspan", pairs)
        }
        MirrorTarget::Vlan { mac, id } => (
            "vlan",
            vec![("mac".into(), Value::text(mac)), ("id".into(), Value::number(id))],
        ),
    };
    Value::pair(kind, Value::Map(pairs))
}

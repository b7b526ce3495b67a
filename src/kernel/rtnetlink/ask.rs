//! Questions about the way of one packet: where it is routed to, whether a neighbour answers, whether a wire is plugged in.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::observe::failed;
use super::{Error, Rtnetlink};
use crate::model::LinkIndex;
use crate::model::inspected::{Neighbour, RouteAnswer, RouteQuestion};

impl Rtnetlink {
    /// Sends one message, and gives all objects of the answer; the inner error is the kernel's refusal.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Result<Vec<RouteNetlinkMessage>, i32>, Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut handle = self.handle.clone();
        let failed = |error| failed("the way of the packet (rtnetlink)", error);
        self.runtime.block_on(async {
            let mut messages = handle.request(request).map_err(failed)?;
            let mut objects = Vec::new();
            while let Some(message) = messages.next().await {
                match message.payload {
                    NetlinkPayload::InnerMessage(object) => {
                        objects.push(object);
                        // One object without an acknowledgement or an end.
                        if flags == 0 {
                            break;
                        }
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Ok(Err(error.raw_code().saturating_neg()));
                    }
                    _ => {}
                }
            }
            Ok(Ok(objects))
        })
    }

    /// `ip route get DESTINATION from SOURCE iif LINK mark MARK`: the whole of the kernel's decision, its reverse-path filter
    /// and its forwarding switch too.
    pub(in crate::kernel) fn route(&mut self, question: &RouteQuestion) -> Result<RouteAnswer, Error> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 32;
        message.header.source_prefix_length = 32;
        let address = |address| RouteAddress::Inet(address);
        message.attributes = vec![
            RouteAttribute::Destination(address(question.destination)),
            RouteAttribute::Source(address(question.source)),
        ];
        if let Some(LinkIndex(index)) = question.from {
            message.attributes.push(RouteAttribute::Iif(index));
        }
        if question.mark != 0 {
            message.attributes.push(RouteAttribute::Mark(question.mark));
        }
        let answer = match self.request(RouteNetlinkMessage::GetRoute(message), 0)? {
            Ok(answer) => answer,
            Err(errno) => return Ok(RouteAnswer::Refused(errno)),
        };
        Ok(answer
            .iter()
            .find_map(|one| match one {
                RouteNetlinkMessage::NewRoute(route) => Some(route_answer(route, question.destination)),
                _ => None,
            })
            .unwrap_or_else(|| RouteAnswer::Other("nothing".to_owned())))
    }

    /// Has the kernel ask a neighbour who has the address, as a packet to it would.
    pub(in crate::kernel) fn solicit(&mut self, link: LinkIndex, address: Ipv4Addr) -> Result<(), Error> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = link.0;
        message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet(address))];
        match self.neighbour_state(link, address)? {
            NeighbourState::Permanent | NeighbourState::Noarp => return Ok(()),
            // One that answered before is asked whether it still does: NTF_USE would wait five seconds for better news.
            NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay => {
                message.header.state = NeighbourState::Probe;
            }
            _ => message.header.flags = NeighbourFlags::Use,
        }
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        // Refused: the link is down or gone, which is told of the link.
        self.request(RouteNetlinkMessage::NewNeighbour(message), flags)
            .map(drop)
    }

    /// What is known of a neighbour.
    pub(in crate::kernel) fn neighbour(
        &mut self,
        link: LinkIndex,
        address: Ipv4Addr,
    ) -> Result<Neighbour, Error> {
        Ok(match self.neighbour_state(link, address)? {
            NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => {
                Neighbour::Answers
            }
            NeighbourState::Stale | NeighbourState::Delay => Neighbour::Stale,
            NeighbourState::Failed => Neighbour::Silent,
            // Those that are being asked just now.
            _ => Neighbour::Unknown,
        })
    }

    fn neighbour_state(&mut self, link: LinkIndex, address: Ipv4Addr) -> Result<NeighbourState, Error> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        let answer = self.request(RouteNetlinkMessage::GetNeighbour(message), NLM_F_DUMP)?;
        let of = NeighbourAttribute::Destination(NeighbourAddress::Inet(address));
        let found = answer.unwrap_or_default().into_iter().find_map(|one| match one {
            RouteNetlinkMessage::NewNeighbour(one)
                if one.header.ifindex == link.0 && one.attributes.contains(&of) =>
            {
                Some(one.header.state)
            }
            _ => None,
        });
        Ok(found.unwrap_or_default())
    }

    /// Whether something is at the other end of every link that is up.
    pub(in crate::kernel) fn carriers(&mut self) -> Result<BTreeMap<LinkIndex, bool>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let links = self.request(request, NLM_F_DUMP)?.unwrap_or_default();
        let carrier = |one: RouteNetlinkMessage| match one {
            RouteNetlinkMessage::NewLink(link) => Some((
                LinkIndex(link.header.index),
                link.header.flags.contains(LinkFlags::LowerUp),
            )),
            _ => None,
        };
        Ok(links.into_iter().filter_map(carrier).collect())
    }
}

fn route_answer(route: &RouteMessage, destination: Ipv4Addr) -> RouteAnswer {
    let (mut link, mut next_hop) = (None, destination);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(LinkIndex(*index)),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => next_hop = *gateway,
            _ => {}
        }
    }
    match (route.header.kind, link) {
        (RouteType::Local, _) => RouteAnswer::Local,
        (RouteType::Unicast, Some(link)) => RouteAnswer::Leaves(link, next_hop),
        (kind, _) => RouteAnswer::Other(format!("{kind:?}").to_lowercase()),
    }
}

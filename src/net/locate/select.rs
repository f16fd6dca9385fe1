//! Which of several records goes first (RFC 2782, RFC 3263 section 4.1). Pure: chance is an argument.

use super::dns::{Naptr, Srv};
use crate::sip::Transport;
use crate::types::Entropy;

/// SRV records in the order to be tried: by priority, within one by chance as the weights say.
pub(super) fn srv_order(mut records: Vec<Srv>, entropy: &mut Entropy) -> Vec<Srv> {
    // RFC 2782: those of weight 0 come first, so that they have a small chance at all.
    records.sort_by_key(|srv| (srv.priority, srv.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|srv| srv.priority) {
        let same = records.iter().take_while(|srv| srv.priority == priority).count();
        let total: u64 = records.iter().take(same).map(|srv| u64::from(srv.weight)).sum();
        let drawn = entropy.u64() % (total + 1);
        let mut sum = 0;
        let chosen = records.iter().take(same).position(|srv| {
            sum += u64::from(srv.weight);
            sum >= drawn
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

/// What a NAPTR record leads to, best first: the protocol and the name that has SRV records. Protocols that nobody
/// here speaks are left out.
pub(super) fn naptr_order(
    mut records: Vec<Naptr>,
    spoken: impl Fn(Transport) -> bool,
) -> Vec<(Transport, String)> {
    records.sort_by_key(|naptr| (naptr.order, naptr.preference));
    let useful = records.into_iter().filter(|naptr| naptr.flags.eq_ignore_ascii_case("s"));
    useful
        .filter_map(|naptr| {
            let transport = match naptr.service.to_ascii_uppercase().as_str() {
                "SIP+D2U" => Transport::Udp,
                "SIP+D2T" => Transport::Tcp,
                "SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            spoken(transport).then_some((transport, naptr.replacement))
        })
        .collect()
}

/// Where SRV records stand for a protocol, without NAPTR.
pub(super) fn srv_name(transport: Transport, host: &str) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{host}"),
        Transport::Tcp => format!("_sip._tcp.{host}"),
        Transport::Tls => format!("_sips._tcp.{host}"),
    }
}

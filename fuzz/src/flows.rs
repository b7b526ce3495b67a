//! Messages about tracked flows out of bytes: nested as the kernel nests them, with whatever else at each level. By
//! chance alone the lengths of all levels hardly ever agree.

use arbitrary::{Result, Unstructured};

const NESTED: u16 = 0x8000;
/// The highest number of an attribute that some kernel knows, and one more.
const HIGHEST: u16 = 27;

/// A message that tells of a flow; no bytes left make the smallest one.
///
/// # Errors
/// Never by the bytes alone: they are taken as zeros where they end.
pub fn message(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for kind in [1, 2] {
        any(bytes, &mut body)?;
        let tuple = tuple(bytes)?;
        some(bytes, &mut body, kind | NESTED, &tuple)?;
    }
    any(bytes, &mut body)?;
    let mut message = (20 + body.len() as u32).to_ne_bytes().to_vec();
    // IPCTNL_MSG_CT_NEW of NFNL_SUBSYS_CTNETLINK, NLM_F_MULTI, 1, from the kernel; AF_INET, version 0.
    message.extend([0, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    message.extend(body);
    Ok(message)
}

fn tuple(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut tuple = Vec::new();
    for (kind, lengths) in [(1, [4, 4, 0]), (2, [1, 2, 2])] {
        any(bytes, &mut tuple)?;
        let mut part = Vec::new();
        for (number, length) in (1..).zip(lengths) {
            any(bytes, &mut part)?;
            let value = bytes.bytes(length.min(bytes.len()))?;
            some(bytes, &mut part, number, value)?;
        }
        any(bytes, &mut part)?;
        some(bytes, &mut tuple, kind | NESTED, &part)?;
    }
    any(bytes, &mut tuple)?;
    Ok(tuple)
}

/// Mostly this attribute.
fn some(bytes: &mut Unstructured<'_>, to: &mut Vec<u8>, kind: u16, value: &[u8]) -> Result<()> {
    if !bytes.ratio(1, 16)? {
        add(to, kind, value);
    }
    Ok(())
}

/// Sometimes an attribute of any kind, also one that is there already.
fn any(bytes: &mut Unstructured<'_>, to: &mut Vec<u8>) -> Result<()> {
    if bytes.ratio(1, 4)? {
        let kind = bytes.int_in_range(0..=HIGHEST)? | (bytes.int_in_range(0..=3)? << 14);
        let length = bytes.int_in_range(0..=40)?;
        let value = bytes.bytes(length.min(bytes.len()))?;
        add(to, kind, value);
    }
    Ok(())
}

fn add(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend((4 + value.len() as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

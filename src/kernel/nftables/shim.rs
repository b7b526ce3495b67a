//! What nftnl's safe interface lacks, and the only unsafe code of the crate: expressions of any kind, sets with
//! flags and data, and the bytes of a message.
//!
//! It decides nothing: names and attributes come from the encoders. Its promises are checked here.

#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;

use nftnl::nftnl_sys::{self as sys, libc};
use nftnl::{MsgType, NlMsg, Rule, expr};

/// The value of an attribute, as libnftnl takes it.
pub(super) enum Value {
    /// A number.
    Number(u32),
    /// A name.
    Name(CString),
    /// Data as it is in a register.
    Data([u8; 4]),
    /// Data of one byte.
    Byte(u8),
    /// Another expression, by its name, without attributes.
    Inner(&'static CStr),
}

/// An expression of a rule: its name, and its attributes by libnftnl's number (`NFTNL_EXPR_*`).
pub(super) struct Expression {
    pub(super) name: &'static CStr,
    pub(super) attributes: Vec<(u32, Value)>,
}

impl expr::Expression for Expression {
    fn to_expr(&self, _: &Rule) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is a zero-terminated string that outlives the call.
        let expression = present(unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) });
        for (attribute, value) in &self.attributes {
            let (attribute, raw) = (*attribute as u16, expression.as_ptr());
            // SAFETY: `raw` was just allocated and is ours alone; libnftnl copies names and data, whose
            // pointers are valid for the call and whose lengths are given or end with a zero.
            unsafe {
                match value {
                    Value::Number(number) => sys::nftnl_expr_set_u32(raw, attribute, *number),
                    Value::Name(name) => {
                        sys::nftnl_expr_set_str(raw, attribute, name.as_ptr());
                    }
                    Value::Data(data) => {
                        sys::nftnl_expr_set(
                            raw,
                            attribute,
                            data.as_ptr().cast::<c_void>(),
                            data.len() as u32,
                        );
                    }
                    Value::Byte(byte) => {
                        sys::nftnl_expr_set(raw, attribute, std::ptr::from_ref(byte).cast::<c_void>(), 1);
                    }
                    Value::Inner(name) => {
                        // It belongs to the outer one from then on, and is freed with it.
                        let inner = present(sys::nftnl_expr_alloc(name.as_ptr()));
                        sys::nftnl_expr_set(raw, attribute, inner.as_ptr().cast::<c_void>(), 0);
                    }
                }
            }
        }
        expression
    }
}

/// A set or map that is to be made.
pub(super) struct Set {
    pub(super) table: CString,
    pub(super) name: CString,
    /// Its number within the batch.
    pub(super) id: u32,
    pub(super) flags: u32,
    /// Type number and length of its keys.
    pub(super) key: (u32, u32),
    /// Type number and length of its data, for a map.
    pub(super) data: Option<(u32, u32)>,
    /// How many elements it is made for; 0: any number.
    pub(super) size: u32,
    /// The length of each field of the key, where keys are ranges of concatenations; empty otherwise.
    pub(super) fields: Vec<u8>,
}

// SAFETY: two names of at most 256 bytes (`c_string` sees to that) and some numbers are far below
// `nft_nlmsg_maxsize()`, and nothing else is written.
unsafe impl NlMsg for Set {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, message: MsgType) {
        let (kind, flags) = match message {
            MsgType::Add => (libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE | libc::NLM_F_EXCL),
            MsgType::Del => (libc::NFT_MSG_DELSET, 0),
        };
        // SAFETY: it has no arguments.
        let set = present(unsafe { sys::nftnl_set_alloc() });
        let raw = set.as_ptr();
        // SAFETY: `raw` was just allocated, is ours alone and is freed once, at the end; names and field
        // lengths are copied; the caller promises that `buffer` has room for the largest message.
        unsafe {
            sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_FAMILY as u16, libc::NFPROTO_IPV4 as u32);
            sys::nftnl_set_set_str(raw, sys::NFTNL_SET_TABLE as u16, self.table.as_ptr());
            sys::nftnl_set_set_str(raw, sys::NFTNL_SET_NAME as u16, self.name.as_ptr());
            sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_ID as u16, self.id);
            sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_FLAGS as u16, self.flags);
            sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_KEY_TYPE as u16, self.key.0);
            sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_KEY_LEN as u16, self.key.1);
            if let Some((data_type, length)) = self.data {
                sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_DATA_TYPE as u16, data_type);
                sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_DATA_LEN as u16, length);
            }
            if self.size > 0 {
                sys::nftnl_set_set_u32(raw, sys::NFTNL_SET_DESC_SIZE as u16, self.size);
            }
            if !self.fields.is_empty() {
                let (fields, length) = (self.fields.as_ptr().cast::<c_void>(), self.fields.len() as u32);
                sys::nftnl_set_set_data(raw, sys::NFTNL_SET_DESC_CONCAT as u16, fields, length);
            }
            let family = libc::NFPROTO_IPV4 as u16;
            let header =
                sys::nftnl_nlmsg_build_hdr(buffer.cast(), kind as u16, family, flags as u16, sequence);
            sys::nftnl_set_nlmsg_build_payload(header, raw);
            sys::nftnl_set_free(raw);
        }
    }
}

/// Turns nftnl's objects into bytes, one at a time.
pub(super) struct Writer {
    /// Words, since a message starts with a C struct that wants to be aligned.
    buffer: Vec<u32>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; (nftnl::nft_nlmsg_maxsize() as usize).div_ceil(size_of::<u32>())],
        }
    }

    /// The message that adds `object`, with 0 as its sequence number.
    pub(super) fn add(&mut self, object: &impl NlMsg) -> Vec<u8> {
        // SAFETY: the buffer is aligned as `struct nlmsghdr` is and has `nft_nlmsg_maxsize()` bytes, which is
        // what `NlMsg` asks for. Names and the number of a rule's expressions are bounded, see `encode`.
        unsafe { object.write(self.buffer.as_mut_ptr().cast::<c_void>(), 0, MsgType::Add) };
        // A message starts with its length, and its attributes are padded to whole words.
        let words = (self.buffer[0] as usize).div_ceil(size_of::<u32>());
        self.buffer[..words]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect()
    }
}

/// What libnftnl allocated. It has no memory left where it is null: then the standard library aborts, too.
fn present<T>(allocated: *mut T) -> NonNull<T> {
    NonNull::new(allocated).unwrap_or_else(|| handle_alloc_error(Layout::new::<[u64; 64]>()))
}

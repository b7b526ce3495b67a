//! What safe interfaces lack, and the only unsafe code of the crate: of nftnl, expressions of any kind and the bytes of a
//! message; of sockets, an option that nix does not know; of the allocator, a setting.
//!
//! It decides nothing: names and attributes come from the encoders. Its promises are checked here.

#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::{CStr, CString, c_void};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use nftnl::nftnl_sys as sys;
use nftnl::{MsgType, NlMsg, Rule, expr};
use nix::libc;

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
    /// Data of two bytes, as it is in a register.
    Port([u8; 2]),
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
                    Value::Data(data) => set(raw, attribute, data),
                    Value::Byte(byte) => set(raw, attribute, std::slice::from_ref(byte)),
                    Value::Port(port) => set(raw, attribute, port),
                }
            }
        }
        expression
    }
}

/// # Safety
/// `expression` must be one of libnftnl's.
unsafe fn set(expression: *mut sys::nftnl_expr, attribute: u16, data: &[u8]) {
    // SAFETY: libnftnl copies this many bytes from there.
    unsafe {
        sys::nftnl_expr_set(
            expression,
            attribute,
            data.as_ptr().cast::<c_void>(),
            data.len() as u32,
        );
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

/// Which network namespace a socket is in: a number that the kernel never gives twice in a boot. `None` before Linux 5.14
/// (`SO_NETNS_COOKIE`, include/uapi/asm-generic/socket.h).
pub(super) fn namespace_cookie(socket: &impl AsRawFd) -> Option<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, as many as `cookie` has, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast::<c_void>(),
            &raw mut length,
        )
    };
    (result == 0 && length as usize == size_of::<u64>()).then_some(cookie)
}

/// Has the allocator give blocks of 64 KiB and more back as soon as they are free: texts, dumps and batches, each a large
/// part of what a run takes and each used for a moment. glibc's own rule keeps them from the first one on that was freed
/// (mallopt(3), "the dynamic mmap threshold").
pub(super) fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers and changes a setting of the allocator; no pointers are involved.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
    }
}

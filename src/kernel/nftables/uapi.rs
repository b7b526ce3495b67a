//! Numbers of linux/netfilter/nf_tables.h that no crate of ours has: the attributes of each kind of message.
//!
//! Message types, registers, verdicts and flags are in `nix::libc`; the attribute numbers of requests that
//! libnftnl writes are libnftnl's. What is here is for what we write and read by hand.

/// `nfnetlink(7)`: the family of our table.
pub(super) const FAMILY: u8 = nix::libc::NFPROTO_IPV4 as u8;

/// `NFTA_TABLE_*`.
pub(super) mod table {
    pub const NAME: u16 = 1;
    pub const FLAGS: u16 = 2;
}

/// `NFTA_CHAIN_*`, and `NFTA_HOOK_*` nested in its hook.
pub(super) mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    pub const FLAGS: u16 = 10;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    /// `NFT_CHAIN_BASE`.
    pub const FLAG_BASE: u32 = 1;
}

/// `NFTA_RULE_*`, `NFTA_LIST_*` and `NFTA_EXPR_*` nested in its expressions.
pub(super) mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
    pub const USERDATA: u16 = 7;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
    /// `NFTNL_UDATA_RULE_COMMENT` of libnftnl/udata.h.
    pub const USERDATA_COMMENT: u8 = 0;
}

/// `NFTA_SET_*`, and `NFTA_SET_DESC_*` nested in its description.
pub(super) mod set {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LENGTH: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DATA_LENGTH: u16 = 7;
    pub const DESCRIPTION: u16 = 9;
    pub const ID: u16 = 10;
    pub const TIMEOUT: u16 = 11;
    pub const EXPRESSION: u16 = 17;
    pub const EXPRESSIONS: u16 = 18;
    pub const DESCRIPTION_SIZE: u16 = 1;
    pub const DESCRIPTION_CONCATENATION: u16 = 2;
    /// `NFTA_SET_FIELD_LEN`.
    pub const FIELD_LENGTH: u16 = 1;
    /// `NFT_SET_CONCAT` (Linux 5.6): an interval set whose key has several fields.
    pub const FLAG_CONCATENATION: u32 = 0x80;
}

/// `NFTA_FLOWTABLE_*`, `NFTA_FLOWTABLE_HOOK_*` nested in its hook, and `NFTA_DEVICE_*` nested in that one's devices.
pub(super) mod flowtable {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const HOOK: u16 = 3;
    pub const FLAGS: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const HOOK_DEVICES: u16 = 3;
    pub const DEVICE_NAME: u16 = 1;
    /// `NF_NETDEV_INGRESS`.
    pub const INGRESS: u32 = 0;
    /// `NFT_MSG_NEWFLOWTABLE` and the two after it (Linux 4.16), which libc lacks.
    pub const MESSAGE_NEW: i32 = 22;
    pub const MESSAGE_GET: i32 = 23;
    pub const MESSAGE_DELETE: i32 = 24;
}

/// `NFTA_SET_ELEM_LIST_*`, `NFTA_SET_ELEM_*` nested in its elements, and `NFTA_DATA_*` in their keys and data.
pub(super) mod element {
    pub const TABLE: u16 = 1;
    pub const SET: u16 = 2;
    pub const ELEMENTS: u16 = 3;
    pub const KEY: u16 = 1;
    pub const DATA: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const EXPRESSION: u16 = 7;
    pub const KEY_END: u16 = 10;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    /// `NFT_SET_ELEM_INTERVAL_END`.
    pub const FLAG_INTERVAL_END: u32 = 1;
}

/// The expression that counts.
pub(super) const COUNTER: &str = "counter";

/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEMENT: u16 = 1;

/// `NFTA_GEN_ID`.
pub(super) const GENERATION_ID: u16 = 1;

/// The attributes of the expressions that we know, by expression.
pub(super) mod expression {
    /// `NFTA_PAYLOAD_*`.
    pub mod payload {
        pub const DREG: u16 = 1;
        pub const BASE: u16 = 2;
        pub const OFFSET: u16 = 3;
        pub const LENGTH: u16 = 4;
    }
    /// `NFTA_META_*`.
    pub mod meta {
        pub const DREG: u16 = 1;
        pub const KEY: u16 = 2;
        pub const SREG: u16 = 3;
    }
    /// `NFTA_LOOKUP_*`.
    pub mod lookup {
        pub const SET: u16 = 1;
        pub const SREG: u16 = 2;
        pub const DREG: u16 = 3;
        pub const FLAGS: u16 = 5;
    }
    /// `NFTA_BITWISE_*`.
    pub mod bitwise {
        pub const SREG: u16 = 1;
        pub const DREG: u16 = 2;
        pub const LENGTH: u16 = 3;
        pub const MASK: u16 = 4;
        pub const XOR: u16 = 5;
        pub const OPERATION: u16 = 6;
    }
    /// `NFTA_CMP_*`.
    pub mod cmp {
        pub const SREG: u16 = 1;
        pub const OPERATION: u16 = 2;
        pub const DATA: u16 = 3;
    }
    /// `NFTA_COUNTER_*`.
    pub mod counter {
        pub const BYTES: u16 = 1;
        pub const PACKETS: u16 = 2;
    }
    /// `NFTA_IMMEDIATE_*`, and `NFTA_VERDICT_*` nested in its data.
    pub mod immediate {
        pub const DREG: u16 = 1;
        pub const DATA: u16 = 2;
        pub const VERDICT_CODE: u16 = 1;
        pub const VERDICT_CHAIN: u16 = 2;
    }
    /// `NFTA_NAT_*`.
    pub mod nat {
        pub const TYPE: u16 = 1;
        pub const FAMILY: u16 = 2;
        pub const ADDRESS_MIN: u16 = 3;
        pub const ADDRESS_MAX: u16 = 4;
        pub const PORT_MIN: u16 = 5;
        pub const PORT_MAX: u16 = 6;
        pub const FLAGS: u16 = 7;
        /// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`: the kernel sets them by the registers given.
        pub const FLAGS_OF_REGISTERS: u32 = 0b11;
    }
    /// `NFTA_CT_*`.
    pub mod ct {
        pub const DREG: u16 = 1;
        pub const KEY: u16 = 2;
        pub const DIRECTION: u16 = 3;
        /// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)`, linux/netfilter/nf_conntrack_common.h.
        pub const STATE_ESTABLISHED: u32 = 2;
        /// `NF_CT_STATE_BIT` of `IP_CT_RELATED` and `IP_CT_NEW`, and `NF_CT_STATE_UNTRACKED_BIT`.
        pub const STATES_BUT_INVALID: u32 = STATE_ESTABLISHED | 4 | 8 | 64;
        /// `IPS_SRC_NAT`, linux/netfilter/nf_conntrack_common.h.
        pub const STATUS_SOURCE: u32 = 0x10;
        /// `IPS_DST_NAT`.
        pub const STATUS_DESTINATION: u32 = 0x20;
        /// `NFT_CT_DST_IP` (Linux 4.17), which libc lacks.
        pub const KEY_DESTINATION_IP: u32 = 20;
        /// `IP_CT_DIR_ORIGINAL`.
        pub const DIRECTION_ORIGINAL: u8 = 0;
        /// `IP_CT_DIR_REPLY`.
        pub const DIRECTION_REPLY: u8 = 1;
    }
    /// `NFTA_FLOW_*`.
    pub mod flow_offload {
        pub const TABLE_NAME: u16 = 1;
    }
    /// `NFTA_RT_*`.
    pub mod rt {
        pub const DREG: u16 = 1;
        pub const KEY: u16 = 2;
        /// `NFT_RT_TCPMSS`.
        pub const KEY_MSS: u32 = 3;
    }
    /// `NFTA_EXTHDR_*`.
    pub mod exthdr {
        pub const TYPE: u16 = 2;
        pub const OFFSET: u16 = 3;
        pub const LENGTH: u16 = 4;
        pub const FLAGS: u16 = 5;
        pub const OPERATION: u16 = 6;
        pub const SREG: u16 = 7;
        /// `NFT_EXTHDR_OP_TCPOPT`.
        pub const TCP_OPTION: u32 = 1;
        /// `TCPOPT_MAXSEG` (RFC 9293, section 3.2): its value begins behind two bytes, and has two.
        pub const MAXSEG: u8 = 2;
        pub const MAXSEG_OFFSET: u32 = 2;
        pub const MAXSEG_LENGTH: u32 = 2;
    }
    /// `NFTA_BYTEORDER_*`.
    pub mod byteorder {
        pub const SREG: u16 = 1;
        pub const DREG: u16 = 2;
        pub const OPERATION: u16 = 3;
        /// `NFT_BYTEORDER_HTON`.
        pub const HTON: u32 = 1;
        pub const LENGTH: u16 = 4;
        pub const SIZE: u16 = 5;
    }
}

//! Kinds of devices: their limits and quirks, and the named profiles of vendors.

use cryptoki_sys::{
    CK_MECHANISM_TYPE, CKM_AES_GCM, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_RSA_AES_KEY_WRAP,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Whose device the simulator pretends to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The real module as it is.
    #[default]
    Plain,
    /// SoftHSM: a token that was away is seen again only after `C_Finalize` and `C_Initialize`.
    SoftHsm,
    /// YubiHSM 2: 16 sessions which end when idle, one command at a time, no AES-GCM.
    YubiHsm2,
    /// AWS CloudHSM, client SDK 5: no read-only sessions, AES-GCM with IVs made by the device and at most 16 KiB.
    CloudHsm,
    /// Thales Luna: Ed25519 under GNU's object identifier, AES-GCM that needs `ulIvBits`.
    Luna,
    /// Nitrokey NetHSM: no AES-GCM and no wrapping of keys.
    NetHsm,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::SoftHsm,
        Self::YubiHsm2,
        Self::CloudHsm,
        Self::Luna,
        Self::NetHsm,
    ];

    /// Its name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::SoftHsm => "softhsm",
            Self::YubiHsm2 => "yubihsm2",
            Self::CloudHsm => "cloudhsm",
            Self::Luna => "luna",
            Self::NetHsm => "nethsm",
        }
    }

    /// The device of that vendor.
    pub(crate) fn device(self) -> Device {
        let plain = Device::default();
        match self {
            Self::Plain => plain,
            Self::SoftHsm => Device {
                return_needs_initialize: true,
                ..plain
            },
            Self::YubiHsm2 => Device {
                max_sessions: Some(16),
                session_idle: Some(Duration::from_secs(30)),
                service_time: Some(Duration::ZERO),
                hidden: BTreeSet::from([CKM_AES_GCM]),
                ..plain
            },
            Self::CloudHsm => Device {
                read_only_sessions: false,
                gcm_iv: GcmIv::Module,
                gcm_max_bytes: Some(16 << 10),
                ..plain
            },
            Self::Luna => Device {
                gcm_needs_iv_bits: true,
                ed25519_gnu: true,
                ..plain
            },
            Self::NetHsm => Device {
                hidden: BTreeSet::from([
                    CKM_AES_GCM,
                    CKM_AES_KEY_WRAP,
                    CKM_AES_KEY_WRAP_PAD,
                    CKM_RSA_AES_KEY_WRAP,
                ]),
                ..plain
            },
        }
    }
}

/// Who makes the initialisation vector of AES-GCM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GcmIv {
    /// The caller.
    #[default]
    Caller,
    /// The module: zero on input, and written back to the caller's buffer.
    Module,
}

/// Limits and quirks. The default has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// How many sessions a process can have open: `CKR_SESSION_COUNT` beyond.
    pub max_sessions: Option<u64>,
    /// A session that was not used for so long is gone.
    pub session_idle: Option<Duration>,
    /// So many wrong PINs lock the user's PIN.
    pub pin_tries: Option<u32>,
    /// The device does one thing at a time, and each takes so much longer.
    pub service_time: Option<Duration>,
    /// Whether sessions can be opened without `CKF_RW_SESSION`.
    pub read_only_sessions: bool,
    /// Mechanisms that the device does not have.
    pub hidden: BTreeSet<CK_MECHANISM_TYPE>,
    /// `CKA_EC_POINT` is the bare point, without the DER octet string around it.
    pub raw_ec_point: bool,
    /// Who makes the IV of AES-GCM.
    pub gcm_iv: GcmIv,
    /// AES-GCM of more bytes in one call is refused.
    pub gcm_max_bytes: Option<u64>,
    /// AES-GCM wants `ulIvBits`, which others ignore.
    pub gcm_needs_iv_bits: bool,
    /// Ed25519 keys are known under GNU's object identifier 1.3.6.1.4.1.11591.15.1.
    pub ed25519_gnu: bool,
    /// A token that came back is seen only after `C_Finalize` and `C_Initialize`.
    pub return_needs_initialize: bool,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            max_sessions: None,
            session_idle: None,
            pin_tries: None,
            service_time: None,
            read_only_sessions: true,
            hidden: BTreeSet::new(),
            raw_ec_point: false,
            gcm_iv: GcmIv::Caller,
            gcm_max_bytes: None,
            gcm_needs_iv_bits: false,
            ed25519_gnu: false,
            return_needs_initialize: false,
        }
    }
}

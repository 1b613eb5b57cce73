//! The plan as it is written, and its check.

use super::{
    Action, Calls, Device, Fault, GcmIv, MAX_BYTES, MAX_DELAY, MAX_FAULTS, Plan, PlanError, Problem,
};
use super::{Profile, Selection, VERSION, When};
use crate::call::FunctionName;
use crate::codes::{self, Code};
use serde::Deserialize;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    version: Spanned<u32>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    profile: Profile,
    module: Option<PathBuf>,
    control: Option<PathBuf>,
    trace: Option<PathBuf>,
    memory: Option<PathBuf>,
    device: Option<Spanned<RawDevice>>,
    #[serde(default)]
    fault: Vec<Spanned<RawFault>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDevice {
    max_sessions: Option<u64>,
    session_idle_ms: Option<u64>,
    pin_tries: Option<u32>,
    service_time_us: Option<u64>,
    read_only_sessions: Option<bool>,
    hide_mechanisms: Option<Vec<Spanned<String>>>,
    raw_ec_point: Option<bool>,
    gcm_iv: Option<GcmIv>,
    gcm_max_bytes: Option<u64>,
    gcm_needs_iv_bits: Option<bool>,
    ed25519_gnu: Option<bool>,
    return_needs_initialize: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    function: Spanned<String>,
    #[serde(rename = "do")]
    action: RawAction,
    #[serde(default)]
    calls: Calls,
    nth: Option<Vec<u64>>,
    every: Option<u64>,
    one_in: Option<u64>,
    times: Option<u64>,
    when: Option<When>,
    code: Option<Spanned<String>>,
    ms: Option<u64>,
    jitter_ms: Option<u64>,
    back_after_ms: Option<u64>,
    bit: Option<u32>,
    extra: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawAction {
    Error,
    Delay,
    Hang,
    DropSession,
    DropSessions,
    RemoveToken,
    ReturnToken,
    LockPin,
    FlipBit,
    FlipS,
    OverReport,
}

/// A problem and where it is in the text, if that is known more exactly than by the table it is in.
type Refused = (Option<Range<usize>>, Problem);

pub(super) fn parse(text: &str) -> Result<Plan, PlanError> {
    let at = |place: Option<Range<usize>>, problem| PlanError {
        line: line_of(text, place),
        problem,
    };
    if text.len() > MAX_BYTES {
        return Err(at(None, Problem::TooLarge));
    }
    let raw: RawPlan =
        toml::from_str(text).map_err(|e| at(e.span(), Problem::Syntax(e.message().to_owned())))?;
    if *raw.version.get_ref() != VERSION {
        return Err(at(
            Some(raw.version.span()),
            Problem::Version(*raw.version.get_ref()),
        ));
    }
    if raw.fault.len() > MAX_FAULTS {
        return Err(at(None, Problem::TooLarge));
    }
    let mut device = raw.profile.device();
    if let Some(changes) = raw.device {
        let table = changes.span();
        change(&mut device, changes.into_inner())
            .map_err(|(place, p)| at(place.or(Some(table)), p))?;
    }
    let mut faults = Vec::with_capacity(raw.fault.len());
    for fault in raw.fault {
        let table = fault.span();
        faults.push(check(fault.into_inner()).map_err(|(place, p)| at(place.or(Some(table)), p))?);
    }
    let RawPlan {
        seed,
        profile,
        module,
        control,
        trace,
        memory,
        ..
    } = raw;
    Ok(Plan {
        seed,
        module,
        control,
        trace,
        memory,
        profile,
        device,
        faults,
    })
}

fn line_of(text: &str, place: Option<Range<usize>>) -> usize {
    let before = place.map_or(0, |range| range.start);
    text.bytes()
        .take(before)
        .filter(|b| *b == b'\n')
        .count()
        .saturating_add(1)
}

fn change(device: &mut Device, raw: RawDevice) -> Result<(), Refused> {
    let ms = |field, value: Option<u64>| {
        value
            .map(|v| within(field, v, 1, millis(MAX_DELAY)))
            .transpose()
    };
    device.max_sessions = raw.max_sessions.or(device.max_sessions);
    device.session_idle = ms("session_idle_ms", raw.session_idle_ms)?
        .map(Duration::from_millis)
        .or(device.session_idle);
    if let Some(tries) = raw.pin_tries {
        within("pin_tries", tries.into(), 1, 255)?;
        device.pin_tries = Some(tries);
    }
    if let Some(us) = raw.service_time_us {
        device.service_time = Some(Duration::from_micros(within(
            "service_time_us",
            us,
            0,
            10_000_000,
        )?));
    }
    if let Some(names) = raw.hide_mechanisms {
        device.hidden.clear();
        for name in names {
            let known = codes::mechanism(name.get_ref());
            device
                .hidden
                .insert(known.ok_or((Some(name.span()), Problem::Mechanism(name.into_inner())))?);
        }
    }
    device.read_only_sessions = raw.read_only_sessions.unwrap_or(device.read_only_sessions);
    device.raw_ec_point = raw.raw_ec_point.unwrap_or(device.raw_ec_point);
    device.gcm_iv = raw.gcm_iv.unwrap_or(device.gcm_iv);
    device.gcm_max_bytes = raw.gcm_max_bytes.or(device.gcm_max_bytes);
    device.gcm_needs_iv_bits = raw.gcm_needs_iv_bits.unwrap_or(device.gcm_needs_iv_bits);
    device.ed25519_gnu = raw.ed25519_gnu.unwrap_or(device.ed25519_gnu);
    device.return_needs_initialize = raw
        .return_needs_initialize
        .unwrap_or(device.return_needs_initialize);
    Ok(())
}

fn check(mut raw: RawFault) -> Result<Fault, Refused> {
    let function = match raw.function.get_ref().as_str() {
        "any" => None,
        name => Some(FunctionName::named(name).ok_or_else(|| {
            (
                Some(raw.function.span()),
                Problem::Function(name.to_owned()),
            )
        })?),
    };
    let selection = match (raw.nth.take(), raw.every.take(), raw.one_in.take()) {
        (None, None, None) => Selection::Always,
        (Some(calls), None, None) if !calls.is_empty() => Selection::Nth(
            calls
                .into_iter()
                .map(|n| positive("nth", n))
                .collect::<Result<_, _>>()?,
        ),
        (Some(_), None, None) => return Err((None, range("nth", 1, u64::MAX))),
        (None, Some(n), None) => Selection::Every(positive("every", n)?),
        (None, None, Some(n)) => Selection::OneIn(positive("one_in", n)?),
        _ => return Err((None, Problem::Selections)),
    };
    let times = raw.times.take().map(|n| positive("times", n)).transpose()?;
    let calls = raw.calls;
    let action = action(&mut raw)?;
    nothing_left(action.name(), &raw)?;
    let signs = function.is_some_and(|f| ["C_Sign", "C_SignFinal"].contains(&f.as_str()));
    if matches!(action, Action::FlipBit { .. } | Action::FlipS) && !signs {
        return Err((None, Problem::NoSignature(action.name())));
    }
    Ok(Fault {
        function,
        calls,
        selection,
        times,
        action,
    })
}

fn action(raw: &mut RawFault) -> Result<Action, Refused> {
    let longest = millis(MAX_DELAY);
    Ok(match raw.action {
        RawAction::Error => {
            let text = raw.code.take().ok_or((
                None,
                Problem::Missing {
                    action: "error",
                    field: "code",
                },
            ))?;
            let Some(code) = Code::parse(text.get_ref()) else {
                return Err((Some(text.span()), Problem::Code(text.into_inner())));
            };
            if code == Code::new(cryptoki_sys::CKR_OK) {
                return Err((Some(text.span()), Problem::CodeOk));
            }
            Action::Error {
                code,
                when: raw.when.take().unwrap_or_default(),
            }
        }
        RawAction::Delay => {
            let ms = raw.ms.take().ok_or((
                None,
                Problem::Missing {
                    action: "delay",
                    field: "ms",
                },
            ))?;
            Action::Delay {
                time: Duration::from_millis(within("ms", ms, 0, longest)?),
                jitter: Duration::from_millis(within(
                    "jitter_ms",
                    raw.jitter_ms.take().unwrap_or(0),
                    0,
                    longest,
                )?),
                when: raw.when.take().unwrap_or_default(),
            }
        }
        RawAction::Hang => Action::Hang {
            when: raw.when.take().unwrap_or_default(),
        },
        RawAction::DropSession => Action::DropSession,
        RawAction::DropSessions => Action::DropSessions,
        RawAction::RemoveToken => {
            let ms = raw
                .back_after_ms
                .take()
                .map(|ms| within("back_after_ms", ms, 0, longest))
                .transpose()?;
            Action::RemoveToken {
                back_after: ms.map(Duration::from_millis),
            }
        }
        RawAction::ReturnToken => Action::ReturnToken,
        RawAction::LockPin => Action::LockPin,
        RawAction::FlipBit => Action::FlipBit {
            bit: raw.bit.take(),
        },
        RawAction::FlipS => Action::FlipS,
        RawAction::OverReport => {
            let extra = raw.extra.take().ok_or((
                None,
                Problem::Missing {
                    action: "over-report",
                    field: "extra",
                },
            ))?;
            Action::OverReport {
                extra: within("extra", extra, 1, 1 << 20)?,
            }
        }
    })
}

/// What the action did not take belongs to another one, or is a mistake.
fn nothing_left(action: &'static str, raw: &RawFault) -> Result<(), Refused> {
    let left = [
        ("when", raw.when.is_some()),
        ("code", raw.code.is_some()),
        ("ms", raw.ms.is_some()),
        ("jitter_ms", raw.jitter_ms.is_some()),
        ("back_after_ms", raw.back_after_ms.is_some()),
        ("bit", raw.bit.is_some()),
        ("extra", raw.extra.is_some()),
    ];
    match left.into_iter().find(|(_, is_left)| *is_left) {
        Some((field, _)) => Err((None, Problem::Surplus { action, field })),
        None => Ok(()),
    }
}

fn range(field: &'static str, least: u64, most: u64) -> Problem {
    Problem::Range { field, least, most }
}

fn within(field: &'static str, value: u64, least: u64, most: u64) -> Result<u64, Refused> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err((None, range(field, least, most)))
    }
}

fn positive(field: &'static str, value: u64) -> Result<NonZeroU64, Refused> {
    NonZeroU64::new(value).ok_or((None, range(field, 1, u64::MAX)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

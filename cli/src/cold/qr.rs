//! Packages as QR codes, for a machine that has a camera and nothing else: Blockchain Commons UR frames (BCR-2020-005), of which
//! any that are enough give the package, in any order (fountain code, BCR-2024-001).

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_policy::Hash;
use qrcode::types::Color;
use qrcode::{EcLevel, QrCode};
use serde::Serialize;

use super::{read, write};
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::{Format, line};

/// Bytes of a package in one frame: a code that any camera reads from a screen.
const FRAGMENT: usize = 250;
/// Pixels of one module.
const SCALE: usize = 6;
/// Light modules around a code (ISO/IEC 18004, section 5.3.8).
const QUIET: usize = 4;
/// The largest picture that is read, in pixels.
const MAX_PIXELS: usize = 64 << 20;
/// Where the frames stand as text.
const TEXT: &str = "frames.txt";

/// Shows a package as QR codes: pictures in a folder, or one after another in the terminal.
#[derive(Debug, clap::Args)]
pub struct QrArgs {
    /// A request or response package.
    file: PathBuf,
    /// A new folder for the pictures and their text; without it they are shown in the terminal until interrupted.
    #[arg(long, value_name = "DIR")]
    qr_dir: Option<PathBuf>,
    /// Milliseconds that each code is shown.
    #[arg(long, default_value_t = 500)]
    interval: u64,
    #[command(flatten)]
    format: Format,
}

/// Puts a package together from the pictures or the text of its frames.
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    /// A folder of PNG pictures, or a text with one frame a line.
    frames: PathBuf,
    /// Where to write the package.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Scanned {
    ok: bool,
    package: Hash,
    bytes: usize,
    frames: usize,
}

/// Runs `cold qr`.
pub fn show(args: &QrArgs) -> Outcome {
    let bytes = read(&args.file)?;
    let frames = frames(&bytes)?;
    let Some(folder) = &args.qr_dir else {
        return in_terminal(&frames, Duration::from_millis(args.interval));
    };
    fs::create_dir(folder).or_fail(Exit::Conflict, format!("cannot make {}", folder.display()))?;
    for (i, frame) in frames.iter().enumerate() {
        let name = format!("frame-{:04}.png", i.saturating_add(1));
        write(&folder.join(name), &picture(frame)?)?;
    }
    write(&folder.join(TEXT), frames.join("\n").as_bytes())?;
    let shown = Scanned {
        ok: true,
        package: Hash::sha256(&bytes),
        bytes: bytes.len(),
        frames: frames.len(),
    };
    args.format.show(&shown, |s| {
        format!(
            "package   {}\nwritten   {} frames in {}",
            s.package,
            s.frames,
            folder.display()
        )
    })
}

/// Runs `cold scan`.
pub fn scan(args: &ScanArgs) -> Outcome {
    let mut decoder = ur::Decoder::default();
    let mut count = 0_usize;
    for frame in seen(&args.frames)? {
        if decoder.complete() {
            break;
        }
        // A frame that was read wrongly is one frame less: the checksum of the whole decides.
        if decoder.receive(&frame.to_lowercase()).is_ok() {
            count = count.saturating_add(1);
        }
    }
    let message = match decoder.message() {
        Ok(Some(message)) => message,
        Ok(None) => {
            return Err(Failure::new(
                Exit::Pending,
                format!(
                    "{count} frames were read, and the package is not whole yet: show more of them"
                ),
            ));
        }
        Err(error) => {
            return Err(Failure::new(
                Exit::Refused,
                format!("the frames fit no package: {error}"),
            ));
        }
    };
    let message = unwrapped(&message).ok_or_else(|| {
        Failure::new(
            Exit::Refused,
            "the frames hold something else than a package",
        )
    })?;
    write(&args.output, message)?;
    let scanned = Scanned {
        ok: true,
        package: Hash::sha256(message),
        bytes: message.len(),
        frames: count,
    };
    args.format.show(&scanned, |s| {
        format!(
            "package   {}\nread      {} frames, {} bytes",
            s.package, s.frames, s.bytes
        )
    })
}

/// Twice as many frames as there are parts: a tenth of them may be missed.
fn frames(bytes: &[u8]) -> Outcome<Vec<String>> {
    let failed = |e: ur::ur::Error| Failure::broken(format!("cannot make frames: {e}"));
    let content = wrapped(bytes)?;
    let mut encoder = ur::Encoder::bytes(&content, FRAGMENT).map_err(failed)?;
    let parts = encoder.fragment_count();
    let all = parts.saturating_mul(2).saturating_add(2);
    // In upper case a code holds nearly twice as much (alphanumeric mode).
    (0..all)
        .map(|_| {
            encoder
                .next_part()
                .map(|part| part.to_uppercase())
                .map_err(failed)
        })
        .collect()
}

/// The head of a CBOR byte string with a length of four bytes (RFC 8949, section 3): what `ur:bytes` carries.
const BYTES: u8 = 0x5a;

fn wrapped(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let length = u32::try_from(bytes.len()).or_broken("the package is too large")?;
    Ok([&[BYTES], length.to_be_bytes().as_slice(), bytes].concat())
}

fn unwrapped(content: &[u8]) -> Option<&[u8]> {
    let (head, rest) = content.split_at_checked(5)?;
    let (kind, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (*kind == BYTES && usize::try_from(length) == Ok(rest.len())).then_some(rest)
}

fn code(frame: &str) -> Outcome<QrCode> {
    QrCode::with_error_correction_level(frame.as_bytes(), EcLevel::L)
        .or_broken("cannot make a QR code")
}

/// A PNG, black on white.
fn picture(frame: &str) -> Outcome<Vec<u8>> {
    let code = code(frame)?;
    let (modules, colors) = (code.width(), code.to_colors());
    let side = modules.saturating_add(2 * QUIET).saturating_mul(SCALE);
    let mut pixels = Vec::with_capacity(side.saturating_mul(side));
    for y in 0..side {
        for x in 0..side {
            let module = |at: usize| (at / SCALE).checked_sub(QUIET).filter(|m| *m < modules);
            let dark = match (module(x), module(y)) {
                (Some(x), Some(y)) => {
                    let at = y.saturating_mul(modules).saturating_add(x);
                    colors.get(at) == Some(&Color::Dark)
                }
                _ => false,
            };
            pixels.push(if dark { 0_u8 } else { 255 });
        }
    }
    let mut out = Vec::new();
    let wide = u32::try_from(side).or_broken("the QR code is too large")?;
    let mut encoder = png::Encoder::new(&mut out, wide, wide);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let what = "cannot write a picture";
    let mut writer = encoder.write_header().or_broken(what)?;
    writer.write_image_data(&pixels).or_broken(what)?;
    writer.finish().or_broken(what)?;
    Ok(out)
}

fn in_terminal(frames: &[String], interval: Duration) -> Outcome {
    if !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "this is no terminal: name a folder with --qr-dir",
        ));
    }
    let mut shown = Vec::with_capacity(frames.len());
    for frame in frames {
        let code = code(frame)?;
        let mut render = code.render::<qrcode::render::unicode::Dense1x2>();
        shown.push(render.quiet_zone(true).build());
    }
    loop {
        for (i, picture) in shown.iter().enumerate() {
            line(&format!(
                "\x1b[2J\x1b[H{picture}\n{} of {}",
                i.saturating_add(1),
                shown.len()
            ));
            std::thread::sleep(interval);
        }
    }
}

/// The frames in a folder's pictures, or in the lines of a text.
fn seen(path: &Path) -> Outcome<Vec<String>> {
    if !path.is_dir() {
        let text = String::from_utf8(read(path)?).or_fail(Exit::Usage, "the frames are no text")?;
        return Ok(text.lines().map(str::to_owned).collect());
    }
    let what = || format!("cannot read {}", path.display());
    let mut pictures = Vec::new();
    for entry in fs::read_dir(path).or_fail(Exit::Usage, what())? {
        let file = entry.or_fail(Exit::Usage, what())?.path();
        if file.extension().is_some_and(|e| e == "png") {
            pictures.push(file);
        }
    }
    pictures.sort();
    let mut frames = Vec::new();
    for picture in &pictures {
        // A picture without a code that can be read is one frame less.
        frames.extend(in_picture(picture)?);
    }
    Ok(frames)
}

fn in_picture(path: &Path) -> Outcome<Option<String>> {
    let what = || format!("{} is no picture that can be read", path.display());
    let bytes = read(path)?;
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().or_fail(Exit::Usage, what())?;
    let size = reader
        .output_buffer_size()
        .filter(|size| *size <= MAX_PIXELS.saturating_mul(4));
    let size = size.ok_or_else(|| Failure::usage(what()))?;
    let mut pixels = vec![0; size];
    let info = reader
        .next_frame(&mut pixels)
        .or_fail(Exit::Usage, what())?;
    let samples = info.color_type.samples();
    let (width, height) = (info.width as usize, info.height as usize);
    // The first sample is grey, or red: codes are black on white.
    let grey = |x: usize, y: usize| {
        let at = y
            .saturating_mul(width)
            .saturating_add(x)
            .saturating_mul(samples);
        pixels.get(at).copied().unwrap_or(255)
    };
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, grey);
    let grids = prepared.detect_grids();
    let decoded = grids.first().and_then(|grid| grid.decode().ok());
    Ok(decoded.map(|(_, content)| content))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
mod tests {
    use super::*;

    fn package(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn scanned(frames: impl Iterator<Item = String>) -> Option<Vec<u8>> {
        let mut decoder = ur::Decoder::default();
        for frame in frames {
            let _ = decoder.receive(&frame.to_lowercase());
        }
        let whole = decoder.message().unwrap()?;
        unwrapped(&whole).map(<[u8]>::to_vec)
    }

    #[test]
    fn pictures_are_read_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = package(3_000);
        let frames = frames(&bytes).unwrap();
        for (i, frame) in frames.iter().enumerate() {
            fs::write(
                folder.path().join(format!("{i:03}.png")),
                picture(frame).unwrap(),
            )
            .unwrap();
        }
        let read = seen(folder.path()).unwrap();
        assert_eq!(read, frames);
        assert_eq!(scanned(read.into_iter()), Some(bytes));
    }

    #[test]
    fn frames_in_another_order_and_with_some_missing_are_enough() {
        let bytes = package(20_000);
        let mut frames = frames(&bytes).unwrap();
        frames.reverse();
        let some = frames.iter().enumerate().filter(|(i, _)| i % 9 != 0);
        assert_eq!(scanned(some.map(|(_, f)| f.clone())), Some(bytes));
    }

    #[test]
    fn too_few_frames_give_nothing() {
        let bytes = package(5_000);
        let few = frames(&bytes).unwrap().into_iter().take(5);
        assert_eq!(scanned(few), None);
    }
}

//! How fast answers are read for what they used: `cargo bench -p keyless-core --bench reading`.
//!
//! It says the median of many turns, and what each turn must have found is checked.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "it measures time, and says what it found"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use keyless_core::usage::{Basis, End, Reader};

const TURNS: usize = 101;

/// How many frames a stream has.
const FRAMES: usize = 300;

/// A frame of 215 bytes.
const FRAME: &str = concat!(
    "data: {\"choices\":[{\"content_filter_results\":{},\"delta\":{\"content\":\" word\"},",
    "\"finish_reason\":null,\"index\":0,\"logprobs\":null}],\"created\":1764000000,",
    "\"id\":\"chatcmpl-0\",\"model\":\"gpt-4o\",\"object\":\"chat.completion.chunk\"}\n\n",
);

const USAGE: &str =
    "\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":180,\"total_tokens\":580}";

/// The pieces in which Envoy hands on a long answer, at most.
const PIECE: usize = 16 * 1024;

fn main() {
    let last = format!("data: {{\"choices\":[],{USAGE}}}\n\n");
    let frames: Vec<&str> = std::iter::repeat_n(FRAME, FRAMES).chain([last.as_str()]).collect();
    let stream = median(|| read(Reader::for_stream(), frames.iter().map(|frame| frame.as_bytes())));
    println!("a frame of {} bytes: {:.0} ns", FRAME.len(), stream * 1e9 / FRAMES as f64);

    let content = "word ".repeat(180);
    let plain = format!("{{\"choices\":[{{\"message\":{{\"content\":\"{content}\"}}}}],{USAGE}}}");
    let answer = median(|| read(Reader::for_plain(), [plain.as_bytes()]));
    println!("a plain answer of {} bytes: {:.0} ns", plain.len(), answer * 1e9);

    let embeddings = embeddings(8 * 1024 * 1024);
    let numbers = median(|| read(Reader::for_plain(), embeddings.as_bytes().chunks(PIECE)));
    let speed = embeddings.len() as f64 / numbers / 1e6;
    println!("embeddings of {} bytes: {speed:.0} MB/s", embeddings.len());
}

/// Reads an answer, and sees that it was understood.
fn read<'a>(mut reader: Reader, pieces: impl IntoIterator<Item = &'a [u8]>) {
    for piece in pieces {
        reader.read(black_box(piece));
    }
    let counted = reader.finish(End::Whole { is_asked: true }, || 0);
    assert_eq!((counted.basis, counted.usage.input), (Basis::Exact, 400), "{counted:?}");
}

/// Returns what it takes, in seconds.
fn median(turn: impl Fn()) -> f64 {
    let mut times: Vec<f64> = (0..TURNS)
        .map(|_| {
            let begun = Instant::now();
            turn();
            begun.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[TURNS / 2]
}

/// Returns an answer of about so many bytes, nearly all of them numbers.
fn embeddings(size: usize) -> String {
    let mut text =
        String::from("{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"embedding\":[0");
    let mut random: u32 = 2_463_534_242;
    while text.len() < size {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        _ = write!(text, ",{:.9}", f64::from(random) / f64::from(u32::MAX) - 0.5);
    }
    text + "]}]," + USAGE + "}"
}

//! OpenAI's chunks: the events of both completion routes.

use std::collections::BTreeMap;

use super::{Teller, push_data};
use crate::{
    answer::{Answer, Finished, Told},
    choices::Piece,
    engine::Usage,
    error::{ApiError, Resume},
};

/// Tells an answer as the completion routes do.
#[derive(Debug)]
pub struct Chunks {
    answer: Answer,
    /// Every event tells the times so far.
    timings: bool,
    /// The choices that have begun and not ended.
    told: BTreeMap<u32, Told>,
}

impl Chunks {
    /// The chunks that `answer` describes.
    pub fn new(answer: Answer) -> Self {
        Chunks {
            answer,
            timings: false,
            told: BTreeMap::new(),
        }
    }

    /// The same with the times so far, if `timings` are wanted.
    pub fn timed(self, timings: bool) -> Self {
        Chunks { timings, ..self }
    }
}

impl Teller for Chunks {
    fn whole(&mut self, finished: &[Finished], usage: Usage) -> Vec<u8> {
        // The first choice's are those of its prompt.
        if let Some(first) = finished.first().filter(|_| self.timings) {
            self.answer.time(first.cost);
        }
        self.answer.whole(finished, usage)
    }

    fn open(&mut self, usage: Usage, bytes: &mut Vec<u8>) {
        self.told.insert(0, Told::default());
        if let Some(chunk) = self.answer.opening_chunk(0, usage) {
            push_data(bytes, &chunk);
        }
    }

    fn tell(&mut self, piece: &Piece, usage: Usage, last: bool, bytes: &mut Vec<u8>) {
        if self.timings {
            self.answer.time(piece.cost);
        }
        let (answer, index) = (&self.answer, piece.index);
        let told = self.told.entry(index).or_insert_with(|| {
            if let Some(chunk) = answer.opening_chunk(index, usage) {
                push_data(bytes, &chunk);
            }
            Told::default()
        });
        told.tokens.append(piece.told.clone());
        for part in &piece.parts {
            if let Some(chunk) = answer.part_chunk(index, part, told, usage) {
                push_data(bytes, &chunk);
            }
        }
        let Some(end) = piece.end else {
            return;
        };
        push_data(bytes, &answer.finish_chunk(index, end, told, usage));
        self.told.remove(&index);
        if last {
            if let Some(chunk) = self.answer.usage_chunk(usage) {
                push_data(bytes, &chunk);
            }
            push_data(bytes, b"[DONE]");
        }
    }

    fn fault(&mut self, error: &ApiError, resume: &Resume, bytes: &mut Vec<u8>) {
        // No [DONE] follows.
        push_data(bytes, &error.to_event(resume));
    }
}

//! OpenAI's chunks: the events of both completion routes.

use super::{Teller, push_data};
use crate::{
    answer::{Answer, Finished},
    choices::Piece,
    engine::Usage,
    error::{ApiError, Resume},
    parts::Part,
};

/// Tells an answer as the completion routes do.
#[derive(Debug)]
pub struct Chunks {
    answer: Answer,
    /// Calls of the choice that is told.
    calls: usize,
}

impl Chunks {
    /// The chunks that `answer` describes.
    pub fn new(answer: Answer) -> Self {
        Chunks { answer, calls: 0 }
    }
}

impl Teller for Chunks {
    fn whole(&mut self, finished: &[Finished], usage: Usage) -> Vec<u8> {
        self.answer.whole(finished, usage)
    }

    fn open(&mut self, usage: Usage, bytes: &mut Vec<u8>) {
        if let Some(chunk) = self.answer.opening_chunk(usage) {
            push_data(bytes, &chunk);
        }
    }

    fn tell(&mut self, piece: &Piece, usage: Usage, last: bool, bytes: &mut Vec<u8>) {
        for part in &piece.parts {
            let chunks = self
                .answer
                .part_chunks(piece.index, part, self.calls, usage);
            for chunk in chunks {
                push_data(bytes, &chunk);
            }
            self.calls += usize::from(matches!(part, Part::Call(_)));
        }
        let Some(end) = piece.end else {
            return;
        };
        self.calls = 0;
        push_data(bytes, &self.answer.finish_chunk(piece.index, end, usage));
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

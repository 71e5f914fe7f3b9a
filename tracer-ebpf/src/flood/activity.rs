//! What tells the user side whether there is anything new.

use tracer_common::flood::counts::COMPLETION_WRITERS;

use super::Here;

#[inline(always)]
pub(super) fn reset(here: &Here) {
    // SAFETY: a map value; the field is the SYN hook's of this CPU.
    unsafe { (*here.element).now.resets += 1 };
}

#[inline(always)]
pub(super) fn syn_ack(here: &Here) {
    // SAFETY: as above.
    unsafe { (*here.element).now.syn_acks += 1 };
}

#[inline(always)]
pub(super) fn completion(here: &Here, writer: u32) {
    let index = writer as usize & (COMPLETION_WRITERS as usize - 1);
    // SAFETY: a map value; the word is this writer's.
    unsafe {
        if let Some(completions) = (*here.element).now.completions.get_mut(index) {
            *completions += 1;
        }
    }
}

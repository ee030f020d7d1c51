//! Chains on their way: one row a chain, one column a moment.

use super::{GAP, MARGIN, blank, count, default_scale, paste, text};
use crate::data::Images;
use image::RgbImage;

/// A film strip: row `i` shows image `i` of every frame, left to right; above each column stands its frame's title (say, the
/// step it was taken at), right of each row that row's (say, the final energy).
///
/// `row_titles` holds one title a chain, or is empty. No frames, or frames without images, give a small blank page.
///
/// # Panics
/// If the frames differ in shape or number of images, if the images have neither 1 nor 3 channels, or if there are
/// titles, but not one a chain.
pub fn film(frames: &[(String, Images)], row_titles: &[String]) -> RgbImage {
    let Some((_, first)) = frames.first() else { return blank(2 * MARGIN, 2 * MARGIN) };
    let n = count(first);
    for (title, frame) in frames {
        assert!(frame.shape == first.shape && count(frame) == n, "frame `{title}` differs from the first");
    }
    assert!(row_titles.is_empty() || row_titles.len() == n, "{} titles for {n} chains", row_titles.len());

    let scale = default_scale(first.shape.width, first.shape.height, frames.len(), n);
    let headers_width = frames.iter().map(|(title, _)| text::width(title)).max().unwrap_or(0);
    let (frame_width, frame_height) = (first.shape.width * scale, first.shape.height * scale);
    let pitch = frame_width.max(headers_width) + GAP;
    let titles_x = MARGIN + frames.len() * pitch - GAP + MARGIN;
    let titles_width = row_titles.iter().map(|title| text::width(title) + MARGIN).max().unwrap_or(0);
    let top = MARGIN + text::HEIGHT + 2;

    let height = if n == 0 { top + MARGIN } else { top + n * (frame_height + GAP) - GAP + MARGIN };
    let mut page = blank(titles_x + titles_width, height);
    for (column, (header, frame)) in frames.iter().enumerate() {
        let x = MARGIN + column * pitch;
        text::draw_centred(&mut page, header, x, MARGIN, pitch - GAP);
        for chain in 0..n {
            let y = top + chain * (frame_height + GAP);
            paste(&mut page, frame, chain, x + (pitch - GAP - frame_width) / 2, y, scale);
        }
    }
    for (chain, title) in row_titles.iter().enumerate() {
        let y = top + chain * (frame_height + GAP) + frame_height.saturating_sub(text::HEIGHT) / 2;
        text::draw(&mut page, title, titles_x, y);
    }
    page
}

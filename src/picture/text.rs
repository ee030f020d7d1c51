//! One line of text in one font, DejaVu Sans Mono: all characters are [`ADVANCE`] wide.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use image::{Rgb, RgbImage};
use std::sync::LazyLock;

/// The font, a file.
pub(super) const FONT_BYTES: &[u8] = include_bytes!("../../assets/font/DejaVuSansMono-subset.ttf");

static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(FONT_BYTES).expect("a valid font"));

/// Pixels from one character to the next: whole, so that equal characters look equal.
const ADVANCE: usize = 8;
/// Pixels that a line of text takes, from above its tallest character to below its lowest.
pub(super) const HEIGHT: usize = 16;
/// Pixels from the top of a line to its baseline.
const BASELINE: usize = 12;
/// Pixels per em that make a character `ADVANCE` wide (1233 of 2048 units).
const EM: f32 = ADVANCE as f32 * 2048.0 / 1233.0;
const INK: Rgb<u8> = Rgb([32, 32, 32]);

/// How many pixels wide `text` is.
pub(super) fn width(text: &str) -> usize {
    text.chars().count() * ADVANCE
}

/// Draws `text` with the upper left corner of its line at (x, y). What would lie outside of the page is left out.
pub(super) fn draw(page: &mut RgbImage, text: &str, x: usize, y: usize) {
    // ab_glyph measures a scale from ascent to descent, not in ems.
    let scale = PxScale::from(EM * FONT.height_unscaled() / FONT.units_per_em().unwrap_or(2048.0));
    let font = FONT.as_scaled(scale);
    for (ix, character) in text.chars().enumerate() {
        let origin = ab_glyph::point((x + ix * ADVANCE) as f32, (y + BASELINE) as f32);
        let Some(outline) =
            font.outline_glyph(font.glyph_id(character).with_scale_and_position(scale, origin))
        else {
            continue; // a space
        };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, cover| {
            let (px, py) = (corner.x as i64 + i64::from(dx), corner.y as i64 + i64::from(dy));
            let (Ok(px), Ok(py)) = (u32::try_from(px), u32::try_from(py)) else { return };
            if let Some(pixel) = page.get_pixel_mut_checked(px, py) {
                let cover = cover.clamp(0.0, 1.0);
                for (below, ink) in pixel.0.iter_mut().zip(INK.0) {
                    *below = (f32::from(*below) * (1.0 - cover) + f32::from(ink) * cover).round() as u8;
                }
            }
        });
    }
}

/// Draws `text` centred in `room` pixels from `x`.
pub(super) fn draw_centred(page: &mut RgbImage, text: &str, x: usize, y: usize, room: usize) {
    draw(page, text, x + room.saturating_sub(width(text)) / 2, y);
}

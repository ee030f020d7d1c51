//! Many images on one page, each with a title under it.

use super::{GAP, MARGIN, blank, count, default_scale, paste, text};
use crate::data::Images;
use image::RgbImage;

/// How a [`grid`] is laid out. The default is as square as can be, images about 96 pixels large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GridOptions {
    /// Images in a row, at least 1; `None`: as many as make the grid nearest to square.
    pub columns: Option<usize>,
    /// Whole-number magnification, at least 1; `None`: to about 96 pixels, less where there are very many images.
    pub scale: Option<usize>,
}

/// A grid of images, row by row, each magnified without smoothing, its title centred under it.
///
/// `titles` holds one title an image, or is empty: then no space is left for them. A title wider than an image
/// widens the columns. No images at all give a small blank page.
///
/// # Panics
/// If the images have neither 1 nor 3 channels, or if there are titles, but not one an image.
pub fn grid(images: &Images, titles: &[String], options: &GridOptions) -> RgbImage {
    let n = count(images);
    assert!(titles.is_empty() || titles.len() == n, "{} titles for {n} images", titles.len());
    let columns = options.columns.unwrap_or_else(|| (n as f64).sqrt().ceil() as usize).clamp(1, n.max(1));
    let rows = n.div_ceil(columns);
    let (width, height) = (images.shape.width, images.shape.height);
    let scale = options.scale.unwrap_or_else(|| default_scale(width, height, columns, rows)).max(1);

    let title_width = titles.iter().map(|title| text::width(title)).max().unwrap_or(0);
    let (title_height, gap) = if titles.is_empty() { (0, GAP) } else { (2 + text::HEIGHT, MARGIN) };
    let cell_width = (width * scale).max(title_width);
    let (pitch_x, pitch_y) = (cell_width + gap, height * scale + title_height + gap);
    let mut page = blank(2 * MARGIN + columns * pitch_x - gap, 2 * MARGIN + rows.max(1) * pitch_y - gap);
    for ix in 0..n {
        let x = MARGIN + ix % columns * pitch_x;
        let y = MARGIN + ix / columns * pitch_y;
        paste(&mut page, images, ix, x + (cell_width - width * scale) / 2, y, scale);
        if let Some(title) = titles.get(ix) {
            text::draw_centred(&mut page, title, x, y + height * scale + 2, cell_width);
        }
    }
    page
}

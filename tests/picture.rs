//! Pictures, pixel by pixel.

use image::{Rgb, RgbImage};
use thalweg::data::{Images, Shape};
use thalweg::picture::{GridOptions, NOT_FINITE, film, grid, save_png};

const WHITE: Rgb<u8> = Rgb([255; 3]);
const MARGIN: u32 = 8;
const GAP: u32 = 3;

fn images(channels: usize, height: usize, width: usize, values: &[f32]) -> Images {
    Images { shape: Shape { channels, height, width }, values: values.to_vec() }
}

fn gray(v: u8) -> Rgb<u8> {
    Rgb([v; 3])
}

fn fixed(columns: usize, scale: usize) -> GridOptions {
    GridOptions { columns: Some(columns), scale: Some(scale) }
}

/// Whether any pixel in these columns and rows is not white.
fn has_ink(picture: &RgbImage, columns: std::ops::Range<u32>, rows: std::ops::Range<u32>) -> bool {
    rows.into_iter().any(|y| columns.clone().any(|x| *picture.get_pixel(x, y) != WHITE))
}

#[test]
fn every_pixel_of_a_grid_is_where_it_belongs() {
    // Three images of 2 x 3 in two columns, each pixel its own grey.
    let values: Vec<f32> = (0..18).map(|i| i as f32 / 127.5 - 1.0).collect();
    let picture = grid(&images(1, 2, 3, &values), &[], &fixed(2, 4));
    assert_eq!(picture.dimensions(), (2 * MARGIN + 12 + GAP + 12, 2 * MARGIN + 8 + GAP + 8));
    for (x, y, &pixel) in picture.enumerate_pixels() {
        let (cell_x, in_x) = ((x as i64 - 8).div_euclid(15), (x as i64 - 8).rem_euclid(15));
        let (cell_y, in_y) = ((y as i64 - 8).div_euclid(11), (y as i64 - 8).rem_euclid(11));
        let image = cell_y * 2 + cell_x;
        let inside = (0..2).contains(&cell_x) && cell_y >= 0 && image < 3 && in_x < 12 && in_y < 8;
        let expected = if inside { gray((image * 6 + in_y / 4 * 3 + in_x / 4) as u8) } else { WHITE };
        assert_eq!(pixel, expected, "({x}, {y})");
    }
}

#[test]
fn values_become_bytes_clamped_and_rounded() {
    let v = [-1.0, 1.0, 0.0, -5.0, 5.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let picture = grid(&images(1, 1, 8, &v), &[], &fixed(1, 1));
    let row: Vec<Rgb<u8>> = (0..8).map(|x| *picture.get_pixel(MARGIN + x, MARGIN)).collect();
    let expected = [gray(0), gray(255), gray(128), gray(0), gray(255), NOT_FINITE, NOT_FINITE, NOT_FINITE];
    assert_eq!(row, expected);
}

#[test]
fn colour_images_keep_their_channels_and_one_nan_makes_the_pixel_loud() {
    let picture = grid(&images(3, 1, 2, &[-1.0, 1.0, 0.0, f32::NAN, 1.0, 1.0]), &[], &fixed(1, 1));
    assert_eq!(*picture.get_pixel(MARGIN, MARGIN), Rgb([0, 128, 255]));
    assert_eq!(*picture.get_pixel(MARGIN + 1, MARGIN), NOT_FINITE);
}

#[test]
fn the_default_grid_is_square_and_its_images_about_96_pixels() {
    for (side, n, magnified, columns) in
        [(28, 16, 84, 4), (32, 10, 96, 4), (32, 1, 96, 1), (64, 4, 128, 2), (200, 2, 200, 2)]
    {
        let picture = grid(&images(1, side, side, &vec![0.0; n * side * side]), &[], &GridOptions::default());
        let rows = n.div_ceil(columns) as u32;
        let pitch = magnified + GAP;
        let border = 2 * MARGIN - GAP;
        assert_eq!(
            picture.dimensions(),
            (border + columns as u32 * pitch, border + rows * pitch),
            "{n} of {side}"
        );
    }
    // A whole replay buffer stays a picture one can open.
    let picture = grid(&images(1, 32, 32, &vec![0.0; 8192 * 1024]), &[], &GridOptions::default());
    assert!(picture.width() < 5000, "{:?}", picture.dimensions());
}

#[test]
fn titles_are_drawn_under_their_own_image_and_nowhere_else() {
    let black = images(1, 28, 28, &vec![-1.0; 2 * 784]);
    let plain = grid(&black, &["".into(), "".into()], &fixed(2, 3));
    let titled = grid(&black, &["".into(), "E = -0.013".into()], &fixed(2, 3));
    assert_eq!(plain.dimensions(), titled.dimensions());
    assert!(grid(&black, &[], &fixed(2, 3)).height() < plain.height(), "no titles, no space for them");
    let changed: Vec<(u32, u32)> = titled
        .enumerate_pixels()
        .filter(|&(x, y, p)| p != plain.get_pixel(x, y))
        .map(|(x, y, _)| (x, y))
        .collect();
    assert!(changed.len() > 100);
    let second = 2 * MARGIN + 84;
    for (x, y) in changed {
        assert!(
            (second..second + 84).contains(&x) && (MARGIN + 84..titled.height()).contains(&y),
            "({x}, {y})"
        );
    }
    // Different titles look different, and the text is centred.
    let other = grid(&black, &["".into(), "E = -0.018".into()], &fixed(2, 3));
    assert_ne!(titled, other);
    let left =
        (second..second + 84).find(|&x| has_ink(&titled, x..x + 1, MARGIN + 84..titled.height())).unwrap();
    let right =
        (second..second + 84).rfind(|&x| has_ink(&titled, x..x + 1, MARGIN + 84..titled.height())).unwrap();
    assert!((left - second).abs_diff(second + 83 - right) <= 3, "{left}..={right} in {second}..");
}

#[test]
fn a_wide_title_widens_the_columns_instead_of_being_cut() {
    let small = images(1, 4, 4, &[-1.0; 2 * 16]);
    let picture = grid(&small, &["a long title".into(), "t".into()], &fixed(2, 1));
    assert_eq!(picture.width(), MARGIN + 2 * (12 * 8 + MARGIN));
    // Images stand in the middle of their columns; nothing is drawn in the margins.
    assert_eq!(*picture.get_pixel(MARGIN + 46, MARGIN), gray(0));
    assert_eq!(*picture.get_pixel(MARGIN + 45, MARGIN), WHITE);
    assert!(!has_ink(&picture, 0..MARGIN, 0..picture.height()));
    assert!(!has_ink(&picture, picture.width() - MARGIN..picture.width(), 0..picture.height()));
    // Letters beyond the font's subset are a box, not a panic.
    grid(&small, &["字".into(), "\n\t".into()], &fixed(2, 1));
}

#[test]
fn a_film_has_a_row_a_chain_and_a_column_a_frame() {
    // Frame f of chain c has the one value f + 2 c, so that every place is told apart.
    let value = |f: usize, c: usize| (f * 10 + c * 100) as u8;
    let frame = |f: usize| {
        let values: Vec<f32> =
            (0..2).flat_map(|c| vec![f32::from(value(f, c)) / 127.5 - 1.0; 32 * 32]).collect();
        images(1, 32, 32, &values)
    };
    let frames: Vec<(String, Images)> =
        ["step 0", "5", "499"].into_iter().enumerate().map(|(f, title)| (title.into(), frame(f))).collect();
    let bare = film(&frames, &[]);
    let titled = film(&frames, &["E = -0.1".into(), "".into()]);
    let top = MARGIN + 18;
    for chain in 0..2u32 {
        for f in 0..3u32 {
            let (x, y) = (MARGIN + f * 99, top + chain * 99);
            for (dx, dy) in [(0, 0), (95, 0), (0, 95), (95, 95)] {
                assert_eq!(*bare.get_pixel(x + dx, y + dy), gray(value(f as usize, chain as usize)));
            }
            assert!(!has_ink(&bare, x + 96..x + 99, 0..bare.height()), "a white gap");
            assert!(has_ink(&bare, x..x + 96, MARGIN..top - 1), "a step number");
        }
    }
    assert_eq!(bare.dimensions(), (2 * MARGIN + 3 * 99 - 3, top + 2 * 99 - 3 + MARGIN));
    assert_eq!(titled.dimensions(), (bare.width() + 8 * 8 + MARGIN, bare.height()));
    assert!(has_ink(&titled, bare.width()..titled.width(), top..top + 96));
    assert!(!has_ink(&titled, bare.width()..titled.width(), top + 99..titled.height()));
}

#[test]
fn nothing_to_draw_gives_a_small_blank_page() {
    for picture in [
        grid(&images(1, 28, 28, &[]), &[], &GridOptions::default()),
        grid(&images(1, 0, 0, &[]), &[], &GridOptions::default()),
        film(&[], &[]),
        film(&[("".into(), images(1, 28, 28, &[]))], &[]),
    ] {
        let (width, height) = picture.dimensions();
        assert!(width > 0 && height > 0 && width < 200 && height < 200, "{width} x {height}");
        assert!(!has_ink(&picture, 0..MARGIN, 0..height));
    }
    grid(&images(1, 1, 1, &[0.0]), &[], &fixed(0, 0)); // taken as 1
}

#[test]
#[should_panic(expected = "titles for 2 images")]
fn a_title_too_few_is_a_bug() {
    grid(&images(1, 1, 1, &[0.0; 2]), &["one".into()], &GridOptions::default());
}

#[test]
fn a_saved_picture_reads_back_and_replaces_an_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grid.png");
    std::fs::write(&path, "older").unwrap();
    let values: Vec<f32> = (0..4 * 784).map(|i| (i as f32).sin()).collect();
    let picture = grid(&images(1, 28, 28, &values), &vec!["E = 1".into(); 4], &GridOptions::default());
    save_png(&path, &picture).unwrap();
    let decoder =
        image::codecs::png::PngDecoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
    assert_eq!(image::DynamicImage::from_decoder(decoder.unwrap()).unwrap().to_rgb8(), picture);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");

    let nowhere = folder.path().join("missing").join("grid.png");
    let message = save_png(&nowhere, &picture).unwrap_err().to_string();
    assert!(message.contains("does not exist") && message.contains("missing"), "{message}");
}

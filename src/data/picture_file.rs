//! PNG and JPEG files as images.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageReader};

use super::{ByteImages, ImageShape};
use crate::{Error, Result};

/// Endings of the files that a folder's images are.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Reads one PNG or JPEG file, whatever its name: grey gives 1 channel; RGB or a palette gives 3. 16 bits a channel are rounded to 8, transparency
/// is composited over black. Bytes are scaled as `(v - 127.5) / 127.5` by [`ByteImages::to_images`].
///
/// # Errors
/// [`Error::Io`] if the file can't be read, [`Error::File`] if it is neither or a damaged one, or would take more than
/// 512 MiB.
pub fn read_file(path: impl AsRef<Path>) -> Result<ByteImages> {
    let path = path.as_ref();
    let source = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let reader = ImageReader::new(source).with_guessed_format().map_err(Error::io("read", path))?;
    let image = match reader.decode() {
        Ok(image) => image,
        Err(image::ImageError::IoError(error)) if !super::is_bad_content(&error) => {
            return Err(Error::io("read", path)(error));
        }
        Err(error) => return Err(Error::file(path, format!("is no readable PNG or JPEG: {error}"))),
    };
    let over_black = |value: u8, alpha: u8| ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8;
    let (height, width) = (image.height() as usize, image.width() as usize);
    let channels = if image.color().has_color() { 3 } else { 1 };
    // As the file has it: channels last.
    let pixels: Vec<u8> = match image {
        DynamicImage::ImageLuma8(grey) => grey.into_raw(),
        DynamicImage::ImageRgb8(rgb) => rgb.into_raw(),
        grey if channels == 1 => grey.to_luma_alpha8().pixels().map(|p| over_black(p[0], p[1])).collect(),
        rgb => rgb.to_rgba8().pixels().flat_map(|p| [0, 1, 2].map(|c| over_black(p[c], p[3]))).collect(),
    };
    let bytes = (0..channels).flat_map(|c| pixels.iter().skip(c).step_by(channels).copied()).collect();
    Ok(ByteImages { shape: ImageShape { channels, height, width }, bytes })
}

/// Every `*.png`, `*.jpg` and `*.jpeg` of a folder, sorted by name; hidden files and those in folders of it don't count.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        // Names that start with a dot are not the user's: ours on the way, macOS's `._1.png`.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().unwrap_or_default();
        if !is_hidden && ENDINGS.iter().any(|e| extension.eq_ignore_ascii_case(e)) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads every `*.png`, `*.jpg` and `*.jpeg` of a folder (not of the folders in it), in the order of their names, as [`read_file`] does.
///
/// # Errors
/// As [`read_file`]; and [`Error::File`] if the folder holds none, or one of another shape than the first.
pub fn read_folder(folder: impl AsRef<Path>) -> Result<ByteImages> {
    let folder = folder.as_ref();
    let paths = files(folder)?;
    let Some((first, others)) = paths.split_first() else {
        return Err(Error::file(folder, "holds no *.png, *.jpg or *.jpeg file"));
    };
    let mut images = read_file(first)?;
    for path in others {
        let next = read_file(path)?;
        if next.shape != images.shape {
            let problem = format!(
                "is {}, but {} is {}; all images of a folder must have one shape",
                next.shape,
                first.display(),
                images.shape
            );
            return Err(Error::file(path, problem));
        }
        images.bytes.extend(next.bytes);
    }
    Ok(images)
}

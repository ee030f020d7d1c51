//! Images: what they are in memory, and how they are read from and written to files.

/// The shape of one image: channels, height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ImageShape {
    /// Colour channels: 1 or 3.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// Values in one image: `channels * height * width`.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// True for an image with no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for ImageShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Images as floats, nominally in [-1, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Shape of each image.
    pub shape: ImageShape,
    /// `[count, channels, height, width]`, row-major.
    pub values: Vec<f32>,
}

/// Images as bytes, as data sets hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteImages {
    /// Shape of each image.
    pub shape: ImageShape,
    /// `[count, channels, height, width]`, row-major.
    pub bytes: Vec<u8>,
}

/// A data set: what is trained on, and what is held out to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// What to call it in messages and checkpoints: `digits`, or the path it came from.
    pub name: String,
    /// The images the network learns from.
    pub train: ByteImages,
    /// Images of the same kind that it never sees in training.
    pub held_out: ByteImages,
}

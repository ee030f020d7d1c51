//! Values of a shader's `override` constants.

/// Names and values of a shader's `override` constants.
pub type Overrides = Vec<(&'static str, f64)>;

/// Lists overrides: `overrides![LANES: self.lanes, SIZE]`, where a bare name is that of a Rust constant.
macro_rules! overrides {
    (@value $name:ident) => { $crate::kernels::OverrideValue::value($name) };
    (@value $name:ident $value:expr) => { $crate::kernels::OverrideValue::value($value) };
    ($($name:ident $(: $value:expr)?),* $(,)?) => {
        vec![$((stringify!($name), overrides!(@value $name $($value)?))),*]
    };
}
pub(crate) use overrides;

/// What an override may be set to.
pub trait OverrideValue {
    /// The value as WebGPU takes it.
    fn value(self) -> f64;
}

macro_rules! override_values {
    ($($type:ty: $convert:expr;)*) => {
        $(impl OverrideValue for $type {
            fn value(self) -> f64 {
                $convert(self)
            }
        })*
    };
}

override_values! {
    f64: |value| value;
    f32: f64::from;
    u32: f64::from;
    bool: f64::from;
    usize: |value| value as f64;
}

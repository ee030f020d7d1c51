// Whether the bits are those of a finite number. Compilers may take it that no number is NaN or infinite; bits are bits.
fn is_finite(bits: u32) -> bool {
    return (bits & 0x7f800000u) != 0x7f800000u;
}

//! How loud a block is, in decibels below full scale.
//!
//! 0 dBFS is a block whose root mean square is 32,768, so a full-scale sine measures -3.01 dBFS.
//! On G.711 a level in dBm0 is about 6.2 dB below the RMS in dBFS read here (ITU-T G.711 table 5).

/// What an empty or silent block measures: below one quantisation step, and finite.
pub const FLOOR_DBFS: f32 = -100.0;

/// Mean of the squared samples.
pub fn mean_square(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    let sum: u64 = samples.iter().map(|s| i32::from(*s).unsigned_abs().pow(2)).map(u64::from).sum();
    (sum as f64 / samples.len() as f64) as f32
}

/// Root mean square in dBFS.
pub fn rms_dbfs(samples: &[i16]) -> f32 {
    power_dbfs(mean_square(samples))
}

/// Greatest magnitude in dBFS.
pub fn peak_dbfs(samples: &[i16]) -> f32 {
    let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
    power_dbfs(f32::from(peak).powi(2))
}

/// A mean square in dBFS.
pub fn power_dbfs(mean_square: f32) -> f32 {
    (10.0 * (mean_square / (32_768.0 * 32_768.0)).max(1e-10).log10()).max(FLOOR_DBFS)
}

/// The mean square of a level in dBFS.
pub fn dbfs_power(dbfs: f32) -> f32 {
    32_768.0 * 32_768.0 * 10_f32.powf(dbfs / 10.0)
}

/// The RMS amplitude of a level in dBFS.
pub fn dbfs_amplitude(dbfs: f32) -> f32 {
    dbfs_power(dbfs).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_levels() {
        assert_eq!(rms_dbfs(&[]), FLOOR_DBFS);
        assert_eq!(rms_dbfs(&[0; 160]), FLOOR_DBFS);
        assert!(rms_dbfs(&[i16::MIN; 160]).abs() < 1e-3);
        let square: Vec<i16> = (0..160).map(|n| if n % 2 == 0 { 3_277 } else { -3_277 }).collect();
        assert!((rms_dbfs(&square) + 20.0).abs() < 0.01);
        assert!((peak_dbfs(&[0, -3_277, 12]) + 20.0).abs() < 0.01);
        assert!((power_dbfs(dbfs_power(-37.5)) + 37.5).abs() < 1e-3);
        assert!((dbfs_amplitude(-20.0) - 3_276.8).abs() < 0.1);
    }
}

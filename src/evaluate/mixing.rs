//! How well several chains mix, by one number of each of their states: split R-hat and effective sample size.
//!
//! Gelman et al. 2013, "Bayesian Data Analysis", third edition, section 11.4 and 11.5; Vehtari, Gelman, Simpson, Carpenter
//! and Bürkner 2021, "Rank-normalization, folding, and localization: an improved R-hat",
//! <https://doi.org/10.1214/20-BA1221>, sections 2 and 3.2. Draws count as they are, and not by their ranks.

/// The halves of all chains, what chains are held against themselves by, and their moments.
struct Halves<'a> {
    halves: Vec<&'a [f64]>,
    n: usize,
    means: Vec<f64>,
    within: f64,   // W
    marginal: f64, // var+
}

impl<'a> Halves<'a> {
    /// `None` where a half has fewer than two draws, or a draw is not finite.
    fn of(chains: &'a [Vec<f64>]) -> Option<Self> {
        let n = chains.iter().map(Vec::len).min()? / 2;
        if n < 2 || chains.iter().flatten().any(|v| !v.is_finite()) {
            return None;
        }
        let halves: Vec<&[f64]> = chains.iter().flat_map(|c| [&c[..n], &c[c.len() - n..]]).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let variance = |values: &[f64]| {
            let mean = mean(values);
            values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
        };
        let means: Vec<f64> = halves.iter().map(|half| mean(half)).collect();
        let within = halves.iter().map(|half| variance(half)).sum::<f64>() / halves.len() as f64;
        let marginal = (n - 1) as f64 / n as f64 * within + variance(&means);
        Some(Self { halves, n, means, within, marginal })
    }

    /// The mean of the halves' autocovariances at a distance, each a sum over n.
    fn autocovariance(&self, distance: usize) -> f64 {
        let of_half = |(half, mean): (&&[f64], &f64)| {
            let pairs = half.iter().zip(&half[distance..]);
            pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / self.n as f64
        };
        self.halves.iter().zip(&self.means).map(of_half).sum::<f64>() / self.halves.len() as f64
    }
}

/// Split R-hat: the square root of the variance of all draws over the variance within chains, each chain cut in two, so
/// that chains that drift show, too. 1 where all halves are of one distribution; above 1.01 they are not, or are too short
/// to tell (equations 1 to 4 of Vehtari et al.). Infinite where every chain stands still, at different places; NaN where
/// they all stand still at one, where chains have fewer than four draws, or where a draw is not finite.
pub fn split_r_hat(chains: &[Vec<f64>]) -> f64 {
    Halves::of(chains).map_or(f64::NAN, |h| (h.marginal / h.within).sqrt())
}

/// Effective sample size: so many independent draws would tell the mean as well as all chains' draws do (equations 10 to 13
/// of Vehtari et al.), as ArviZ's `ess(method="mean")` and Stan reckon it. Autocorrelations are summed in pairs for as long
/// as these are positive, and no pair counts for more than the one before (Geyer 1992,
/// <https://doi.org/10.1214/ss/1177011137>); of the pair after the last, the even one counts once if it is positive. At most
/// `s log10(s)` for `s` draws. NaN where [`split_r_hat`] is NaN or infinite.
pub fn effective_size(chains: &[Vec<f64>]) -> f64 {
    let Some(h) = Halves::of(chains).filter(|h| h.within > 0.0) else { return f64::NAN };
    // With the covariances of all distances over n, as they are in Stan: they shrink by themselves as fewer pairs are left.
    let correlation = |distance: usize| 1.0 - (h.within - h.autocovariance(distance)) / h.marginal;
    let mut pair = [1.0, correlation(1)];
    let mut pairs = vec![pair];
    let mut distance = 2;
    while distance + 1 < h.n - 1 && pair[0] + pair[1] > 0.0 {
        pair = [correlation(distance), correlation(distance + 1)];
        pairs.push(pair);
        distance += 2;
    }
    // The last pair is not positive, or the chains end there: its first counts alone, and once.
    pairs.pop();
    let last = if pair[0] > 0.0 || pair[0] + pair[1] >= 0.0 { pair[0] } else { 0.0 };
    let sums = pairs.iter().scan(f64::INFINITY, |least, [even, odd]| {
        *least = least.min(even + odd);
        Some(*least)
    });
    let draws = (h.n * h.halves.len()) as f64;
    let tau = 2.0 * sums.sum::<f64>() - 1.0 + last;
    draws / tau.max(1.0 / draws.log10())
}

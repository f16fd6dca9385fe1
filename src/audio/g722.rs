//! G.722 at 64 kbit/s (ITU-T G.722): 16 kHz speech in 8 bits a pair of samples.
//!
//! Two sub-bands of 8 kHz, split and joined by a quadrature mirror filter of 24 taps; ADPCM with 6 bits in the
//! lower and 2 in the upper. Fixed point as the recommendation writes it, so that both ends stay in step. In RTP
//! its clock says 8,000 Hz for historical reasons (RFC 3551 section 4.5.2).

/// Taps of the mirror filter, one half: the other is its mirror image.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

// Tables of the recommendation, under its own names.
const Q6: [i32; 32] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940,
    1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919, 0, 0,
];
const ILN: [u8; 32] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11,
    10, 9, 8, 7, 6, 5, 4, 0,
];
const ILP: [u8; 32] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39,
    38, 37, 36, 35, 34, 33, 32, 0,
];
const WL: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
const RL42: [u8; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
const QM4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
const IHN: [u8; 3] = [0, 1, 0];
const IHP: [u8; 3] = [0, 3, 2];
const WH: [i32; 3] = [0, -214, 798];
const RH2: [u8; 4] = [2, 1, 2, 1];

fn saturated(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

fn of<T: Copy + Default>(table: &[T], index: usize) -> T {
    table.get(index).copied().unwrap_or_default()
}

/// ADPCM state of one sub-band.
#[derive(Clone, Debug)]
struct Band {
    s: i32,
    sz: i32,
    r: [i32; 3],
    p: [i32; 3],
    a: [i32; 3],
    d: [i32; 7],
    b: [i32; 7],
    nb: i32,
    det: i32,
}

impl Band {
    fn new(det: i32) -> Self {
        Self { s: 0, sz: 0, r: [0; 3], p: [0; 3], a: [0; 3], d: [0; 7], b: [0; 7], nb: 0, det }
    }

    /// Block 4: takes the quantised difference in and predicts the next sample.
    fn adapt(&mut self, difference: i32) {
        self.d[0] = difference;
        self.r[0] = saturated(self.s + difference);
        self.p[0] = saturated(self.sz + difference);
        let sign = |value: i32| value >> 15;
        let same = |a: i32, b: i32| sign(a) == sign(b);

        // The second pole (UPPOL2), bounded.
        let first = saturated(self.a[1] << 2);
        let turned = if same(self.p[0], self.p[1]) { -first } else { first }.min(32_767);
        let mut second = if same(self.p[0], self.p[2]) { 128 } else { -128 };
        second += turned >> 7;
        second += (self.a[2] * 32_512) >> 15;
        let second = second.clamp(-12_288, 12_288);

        // The first pole (UPPOL1), bounded by the second.
        let step = if same(self.p[0], self.p[1]) { 192 } else { -192 };
        let limit = saturated(15_360 - second);
        let first = saturated(step + ((self.a[1] * 32_640) >> 15)).clamp(-limit, limit);

        // The zeros (UPZERO).
        let step = if difference == 0 { 0 } else { 128 };
        for (b, d) in self.b.iter_mut().zip(self.d).skip(1) {
            let turn = if same(d, difference) { step } else { -step };
            *b = saturated(turn + ((*b * 32_640) >> 15));
        }
        self.d.rotate_right(1);
        (self.a[1], self.a[2]) = (first, second);
        (self.r[2], self.r[1]) = (self.r[1], self.r[0]);
        (self.p[2], self.p[1]) = (self.p[1], self.p[0]);

        // Prediction: poles (FILTEP), zeros (FILTEZ), sum.
        let pole = |r: i32, a: i32| (saturated(r + r) * a) >> 15;
        let poles = saturated(pole(self.r[1], self.a[1]) + pole(self.r[2], self.a[2]));
        let zeros = self.b.iter().zip(self.d).skip(1);
        self.sz = saturated(zeros.map(|(b, d)| (saturated(d + d) * b) >> 15).sum());
        self.s = saturated(poles + self.sz);
    }

    /// The next step size of the lower band (blocks 3L).
    fn scale_low(&mut self, code: u8) {
        let wanted = of(&WL, usize::from(of(&RL42, usize::from(code))));
        self.nb = (((self.nb * 127) >> 7) + wanted).clamp(0, 18_432);
        self.det = step(self.nb, 8);
    }

    /// The next step size of the upper band (blocks 3H).
    fn scale_high(&mut self, code: u8) {
        let wanted = of(&WH, usize::from(of(&RH2, usize::from(code))));
        self.nb = (((self.nb * 127) >> 7) + wanted).clamp(0, 22_528);
        self.det = step(self.nb, 10);
    }
}

/// From the logarithm to the step size (SCALEL, SCALEH).
fn step(nb: i32, whole: i32) -> i32 {
    let mantissa = of(&ILB, ((nb >> 6) & 31) as usize);
    let shift = whole - (nb >> 11);
    (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2
}

/// Both sub-bands of one direction.
#[derive(Clone, Debug)]
struct Bands {
    low: Band,
    high: Band,
}

impl Bands {
    fn new() -> Self {
        Self { low: Band::new(32), high: Band::new(8) }
    }

    /// The octet for a sample of each band.
    fn encode(&mut self, low: i32, high: i32) -> u8 {
        let error = saturated(low - self.low.s);
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let below = |i: &usize| magnitude < (of(&Q6, *i) * self.low.det) >> 12;
        let level = (1..30).find(below).unwrap_or(30);
        let code = of(if error < 0 { &ILN } else { &ILP }, level);
        self.take_low(code);

        let error = saturated(high - self.high.s);
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let level = if magnitude >= (564 * self.high.det) >> 12 { 2 } else { 1 };
        let upper = of(if error < 0 { &IHN } else { &IHP }, level);
        self.take_high(upper);
        (upper << 6) | code
    }

    /// Adapts the lower band to a code of 6 bits, of which 4 count.
    fn take_low(&mut self, code: u8) {
        let short = code >> 2;
        let difference = (self.low.det * of(&QM4, usize::from(short))) >> 15;
        self.low.scale_low(short);
        self.low.adapt(difference);
    }

    fn take_high(&mut self, code: u8) -> i32 {
        let difference = (self.high.det * of(&QM2, usize::from(code))) >> 15;
        let restored = difference + self.high.s;
        self.high.scale_high(code);
        self.high.adapt(difference);
        restored
    }

    /// A sample of each band.
    fn decode(&mut self, octet: u8) -> (i32, i32) {
        let (code, upper) = (octet & 0x3f, octet >> 6);
        let fine = (self.low.det * of(&QM6, usize::from(code))) >> 15;
        let low = (self.low.s + fine).clamp(-16_384, 16_383);
        self.take_low(code);
        let high = self.take_high(upper).clamp(-16_384, 16_383);
        (low, high)
    }
}

/// The last 24 samples of a mirror filter, oldest first.
#[derive(Clone, Debug)]
struct Mirror([i32; 24]);

impl Mirror {
    fn push(&mut self, first: i32, second: i32) {
        self.0.copy_within(2.., 0);
        let [.., a, b] = &mut self.0;
        (*a, *b) = (first, second);
    }

    /// Sums over the even and the odd samples.
    fn sums(&self) -> (i32, i32) {
        let (mut even, mut odd) = (0, 0);
        let pairs = self.0.chunks_exact(2).zip(QMF.iter().zip(QMF.iter().rev()));
        for (pair, (forward, backward)) in pairs {
            if let [a, b] = pair {
                even += a * forward;
                odd += b * backward;
            }
        }
        (even, odd)
    }
}

/// 16 kHz samples to octets, one for two.
#[derive(Clone, Debug)]
pub struct Encoder {
    bands: Bands,
    mirror: Mirror,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { bands: Bands::new(), mirror: Mirror([0; 24]) }
    }
}

impl Encoder {
    /// Encodes pairs of samples as far as `payload` goes; returns the octets written.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> usize {
        let mut written = 0;
        for (pair, octet) in pcm.chunks_exact(2).zip(payload) {
            if let [first, second] = pair {
                self.mirror.push(i32::from(*first), i32::from(*second));
            }
            let (odd, even) = self.mirror.sums();
            let low = (even + odd) >> 14;
            let high = (even - odd) >> 14;
            *octet = self.bands.encode(low, high);
            written += 1;
        }
        written
    }
}

/// Octets to 16 kHz samples, two for one.
#[derive(Clone, Debug)]
pub struct Decoder {
    bands: Bands,
    mirror: Mirror,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { bands: Bands::new(), mirror: Mirror([0; 24]) }
    }
}

impl Decoder {
    /// Decodes as many octets as `pcm` has room for; returns the samples written.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let mut written = 0;
        for (octet, pair) in payload.iter().zip(pcm.chunks_exact_mut(2)) {
            let (low, high) = self.bands.decode(*octet);
            self.mirror.push(low + high, low - high);
            let (odd, even) = self.mirror.sums();
            if let [first, second] = pair {
                *first = saturated(even >> 11) as i16;
                *second = saturated(odd >> 11) as i16;
            }
            written += 2;
        }
        written
    }
}

#[cfg(test)]
mod tests;

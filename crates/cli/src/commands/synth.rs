//! `cordon synth`

//! The facts that the hospital is made of: places, names, code systems. Constants only.

pub mod bedside;
pub mod clinical;
pub mod names;
pub mod places;
pub mod staff;

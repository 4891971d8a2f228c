mod keys;
mod merkle;
mod proof;

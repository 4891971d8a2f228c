mod keys;
mod merkle;

mod merkle;

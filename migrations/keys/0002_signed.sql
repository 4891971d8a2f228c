-- Keys whose requests are signed, and that nobody may bear.
ALTER TABLE api_key ADD COLUMN signed boolean NOT NULL DEFAULT false;

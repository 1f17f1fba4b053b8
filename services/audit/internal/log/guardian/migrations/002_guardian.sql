-- +goose Up
ALTER TABLE keeper_services RENAME TO guardian_services;
ALTER TABLE keeper_epochs RENAME TO guardian_epochs;

-- +goose Down
ALTER TABLE guardian_services RENAME TO keeper_services;
ALTER TABLE guardian_epochs RENAME TO keeper_epochs;

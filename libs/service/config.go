package service

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Configure fills a configuration: a pointer to a struct whose fields carry
// `env:"FRESHET_…"` and, if they want one, `help:"…"`; structs in it are filled as
// well. The environment stands over what is set already, and flags stand over the
// environment: FRESHET_REGISTRY_MAX_RUNS is also --registry-max-runs. All mistakes
// are reported at once.
func Configure(flags *flag.FlagSet, lookup func(string) (string, bool), into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("a configuration is a pointer to a struct, not %T", into)
	}
	return configure(flags, lookup, v.Elem())
}

func configure(flags *flag.FlagSet, lookup func(string) (string, bool), v reflect.Value) error {
	var errs []error
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if !field.IsExported() {
			continue
		}
		name := field.Tag.Get("env")
		if name == "" {
			if value.Kind() == reflect.Struct {
				errs = append(errs, configure(flags, lookup, value))
			}
			continue
		}
		if text, ok := lookup(name); ok {
			if err := set(value, text); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q: %w", name, text, err))
			}
		}
		flags.Var(flagValue{value}, flagName(name), field.Tag.Get("help")+" (environment: "+name+")")
	}
	return errors.Join(errs...)
}

func flagName(env string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(env, "FRESHET_")), "_", "-")
}

// flagValue sets a field from a flag.
type flagValue struct{ v reflect.Value }

func (f flagValue) String() string {
	if !f.v.IsValid() {
		return ""
	}
	if list, ok := f.v.Interface().([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(f.v.Interface())
}

func (f flagValue) Set(text string) error { return set(f.v, text) }

func (f flagValue) IsBoolFlag() bool { return f.v.IsValid() && f.v.Kind() == reflect.Bool }

func set(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("use a duration such as 30s or 5m")
		}
		v.SetInt(int64(d))
		return nil
	case []string:
		var list []string
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		v.Set(reflect.ValueOf(list))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("use true or false")
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return errors.New("use a whole number")
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return errors.New("use a whole number that is not negative")
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return errors.New("use a number")
		}
		v.SetFloat(n)
	default:
		return fmt.Errorf("a %s cannot be set from text", v.Type())
	}
	return nil
}

// validate asks a configuration that can tell whether it is right.
func validate(config any) error {
	if v, ok := config.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// Settings are what every service's process needs to know.
type Settings struct {
	Postgres string   `env:"FRESHET_POSTGRES_URL" help:"connection string of PostgreSQL"`
	NATS     string   `env:"FRESHET_NATS_URL" help:"URL of the log's server, with this service's user"`
	Attested bool     `env:"FRESHET_ATTESTED" help:"wait until audit has attested the log; false where no audit runs"`
	Kafka    []string `env:"FRESHET_KAFKA" help:"Kafka's bootstrap addresses"`
	Objects  string   `env:"FRESHET_OBJECTS" help:"a directory or a bucket's URL for objects"`
	DataDir  string   `env:"FRESHET_DATA_DIR" help:"a directory of the service's own"`
	Listen   string   `env:"FRESHET_LISTEN" help:"loopback address to listen on"`
	Suite    string   `env:"FRESHET_URL" help:"where all services' routes are mounted"`
	Auth     string   `env:"FRESHET_AUTH" help:"token: only who has the token may do anything; none: everybody, on loopback only"`
	Token    string   `env:"FRESHET_TOKEN" help:"the token, the same for all services"`

	ClockSteps string `env:"FRESHET_CLOCK_STEPS" help:"a file whose duration is added to the clock for as long as it holds it, to see what a clock that steps does"`

	LogLevel  string `env:"FRESHET_LOG_LEVEL" help:"debug, info, warn or error"`
	LogFormat string `env:"FRESHET_LOG_FORMAT" help:"text or json"`
}

// DefaultSettings are right for one machine, where only servers are to be named.
func DefaultSettings() Settings {
	return Settings{Attested: true, Auth: AuthToken, Listen: "127.0.0.1:0", Suite: "http://127.0.0.1:8080", LogLevel: "info", LogFormat: "text"}
}

// Who is let in.
const (
	AuthToken = "token" // who has the token
	AuthNone  = "none"  // everybody, on loopback only
)

// CheckAuth refuses what is no way to let somebody in.
func CheckAuth(auth string) error {
	if auth != AuthToken && auth != AuthNone {
		return fmt.Errorf("%q is no way to let somebody in: use %s, or %s for everybody on loopback", auth, AuthToken, AuthNone)
	}
	return nil
}

// Validate names everything that is missing.
func (s Settings) Validate() error {
	var errs []error
	for _, need := range []struct{ name, value string }{
		{"FRESHET_POSTGRES_URL", s.Postgres}, {"FRESHET_NATS_URL", s.NATS},
		{"FRESHET_KAFKA", strings.Join(s.Kafka, ",")}, {"FRESHET_OBJECTS", s.Objects}, {"FRESHET_DATA_DIR", s.DataDir},
	} {
		if need.value == "" {
			errs = append(errs, fmt.Errorf("%s is not set: freshet infra starts what a service needs and prints the settings", need.name))
		}
	}
	if err := CheckAuth(s.Auth); err != nil {
		errs = append(errs, fmt.Errorf("FRESHET_AUTH: %w", err))
	}
	if s.Auth == AuthToken && s.Token == "" {
		errs = append(errs, errors.New("FRESHET_TOKEN is not set: freshet infra prints it with the other settings; "+
			"FRESHET_AUTH=none lets in everybody on this machine"))
	}
	return errors.Join(errs...)
}

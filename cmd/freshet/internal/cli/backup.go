package cli

import (
	"fmt"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/backup"
	"github.com/spf13/cobra"
)

func backupCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy a stopped suite's whole installation to a directory",
		Long: "Copy a stopped suite's whole installation to a new directory: PostgreSQL, the log, Kafka, objects, keys, with the\n" +
			"digest of every file in a manifest. freshet restore restores it, on this machine or another.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			started := time.Now()
			m, err := backup.Take(cmd.Context(), dir, args[0], version(), started)
			if err != nil {
				return err
			}
			cmd.Printf("%s in %s, after %.1f s\n", contents(m), args[0], time.Since(started).Seconds())
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", defaultDataDir(), "the installation to copy")
	return cmd
}

func restoreCommand() *cobra.Command {
	var dir string
	var check bool
	cmd := &cobra.Command{
		Use:   "restore DIR --data-dir NEW",
		Short: "Restore a backup into a new directory",
		Long: "Restore a backup into a new or empty directory, comparing every file with its digest; freshet up --data-dir NEW\n" +
			"then continues from the state of the backup. With --check, only compare.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			started := time.Now()
			if check {
				m, err := backup.Check(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				foreign, err := m.Foreign(args[0])
				if err != nil {
					return err
				}
				cmd.Printf("%s of %s match the manifest\n", contents(m), m.Made.Format("2006-01-02 15:04:05"))
				for _, name := range foreign {
					cmd.Println(name + ": it is not in the manifest, and is not restored")
				}
				return nil
			}
			if !cmd.Flags().Changed("data-dir") {
				return fmt.Errorf("name the new directory with --data-dir; with --check the backup is only compared with its manifest")
			}
			m, err := backup.Restore(cmd.Context(), args[0], dir)
			if err != nil {
				return err
			}
			cmd.Printf("%s of %s in %s, after %.1f s; continue with freshet up --data-dir %s\n", contents(m), m.Made.Format("2006-01-02 15:04:05"), dir,
				time.Since(started).Seconds(), dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "a new or empty directory")
	cmd.Flags().BoolVar(&check, "check", false, "only compare the backup with its manifest")
	return cmd
}

func contents(m *backup.Manifest) string {
	return fmt.Sprintf("%d files, %.1f MB", len(m.Files), float64(m.Size())/1e6)
}

package cli

import (
	"fmt"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/backup"
	"github.com/spf13/cobra"
)

func backupsCommand() *cobra.Command {
	return group("backups", "Backups of a stopped suite", backupsTake(), backupsCheck(), backupsRestore())
}

func backupsTake() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "take DIR",
		Short: "Copy a stopped suite's whole installation to a directory",
		Long: "Copy a stopped suite's whole installation to a new directory: PostgreSQL, the log, Kafka, objects, keys, with the\n" +
			"digest of every file in a manifest. freshet backups restore restores it, on this machine or another.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: once(directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			started := time.Now()
			m, err := backup.Take(cmd.Context(), dir, args[0], built(), started)
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

func backupsCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check DIR", Short: "Compare a backup with its manifest", Args: cobra.ExactArgs(1), ValidArgsFunction: once(directories),
		RunE: func(cmd *cobra.Command, args []string) error {
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
		},
	}
}

func backupsRestore() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "restore DIR", Short: "Restore a backup into a new directory", Args: cobra.ExactArgs(1), ValidArgsFunction: once(directories),
		Long: "Restore a backup into the new or empty directory --data-dir, comparing every file with its digest; freshet up\n" +
			"--data-dir NEW then continues from the state of the backup.",
		RunE: func(cmd *cobra.Command, args []string) error {
			started := time.Now()
			m, err := backup.Restore(cmd.Context(), args[0], dir)
			if err != nil {
				return err
			}
			cmd.Printf("%s of %s in %s, after %.1f s; continue with freshet up --data-dir %s\n", contents(m), m.Made.Format("2006-01-02 15:04:05"), dir,
				time.Since(started).Seconds(), dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "a new or empty directory (required)")
	required(cmd, "data-dir")
	return cmd
}

// directories complete by directories.
func directories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func contents(m *backup.Manifest) string {
	return fmt.Sprintf("%d files, %.1f MB", len(m.Files), float64(m.Size())/1e6)
}

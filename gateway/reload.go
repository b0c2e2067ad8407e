package gateway

// Reload reads again what can be while the gateway runs: the files of TLS, which are certificates, authorities and revocation lists, those of auth.chains,
// auth.scram_file and auth.jwt_secret_file, and acl.file; and it has the keys of key servers fetched. What cannot be used is logged, and leaves a listener, a
// chain or all devices with what they have. Devices stay connected, but those whose certificate is revoked, that came in by what has gone, or that new rules
// take something from. Where there is nothing to read, it says no more than that. It may be called from any goroutine once there is a gateway.
func (g *Gateway) Reload() {
	again := []string{}
	if g.tls != nil {
		again = append(again, "certificates")
		g.tls.reload(func(*tlsDoor) bool { return true })
	}
	if len(g.doors.files) > 0 {
		again = append(again, "users and secrets")
		g.reloadFiles(func(*authFile) bool { return true })
	}
	keys := false
	for _, l := range g.doors.links {
		if l.keys != nil {
			keys = true
			l.keys.Refresh()
		}
	}
	if keys {
		again = append(again, "key sets")
	}
	if g.cfg.ACL.File != "" {
		again = append(again, "rules")
		g.reloadRules(true)
	}
	g.log.Info().Strs("again", again).Msg("what can be read again was read; settings are read at the start only")
}

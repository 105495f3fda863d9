# Made up for tests.
function Invoke-AnalyzerSecurityCveCheck {
    $both = @("Exchange2019", "ExchangeSE")
    $exBoth = @("Exchange2019", "ExchangeSE")
    $ex2019 = "Exchange2019"
    $exSE = "ExchangeSE"
    $suNameDictionary = @{
        "Feb26SU" = (NewCveEntry @("CVE-2026-21527") @($ex2019, $exSE))
        "Sep26SU" = (@((NewCveEntry "CVE-2026-90001" $exBoth)) + (NewCveEntry "CVE-2026-90002", "CVE-2026-90003" $exSE))
        "Sep26SUv2" = (@(NewCveEntry ("CVE-2026-90001") @($ex2019)))
        "Oct26SU" = (NewCveEntry @("ADV260001", "CVE-2026-90004") $exBoth)
    }

    $cveAndOverrideCheckParamList.Add($cveOverrideBaseParams + @{
            SUName                     = "Oct26SU"
            CVEName                    = "CVE-2026-90005"
            SettingOverrideInformation = $null
        })
    $cveAndOverrideCheckParamList.Add($cveOverrideBaseParams + @{
            SUName  = "Feb26SU"
            CVEName = "CVE-2026-90006"
        })
}
